"""The loss against its formula, and what a student learns beyond the labels."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from leankeras import Data, distill
from leankeras.distillation.distillation import TaughtOutputs
from leankeras.errors import DataError, ModelError, ParameterError
from leankeras.objective import Objective
from leankeras.task import Task


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def classifier(units=16, outputs=3, last=None, seed=0, name="classifier"):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(units, activation="relu", name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(outputs, activation=last, name="head"),
        ],
        name=name,
    )


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(768, 6)).astype("float32")
    y = np.argmax(x[:, :3] + 0.5 * x[:, 3:], axis=1)
    return Data(x[:512], y[:512], x[512:], y[512:])


@pytest.fixture(scope="module")
def teacher(data):
    model = classifier(64, name="teacher")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(data.x_train, data.y_train, epochs=20, verbose=0)
    return model


def with_softmax(model):
    return keras.Model(model.inputs[0], ops.softmax(model.outputs[0]), name="probabilities")


def agreement(one, other, x):
    outputs = [np.argmax(model(x, training=False), axis=1) for model in (one, other)]
    return np.mean(outputs[0] == outputs[1])


@pytest.mark.parametrize("teacher_probabilities", [False, True])
@pytest.mark.parametrize("student_probabilities", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_loss_is_the_formula(temperature, student_probabilities, teacher_probabilities):
    generator = np.random.default_rng(1)
    teacher, student = generator.normal(scale=2, size=(2, 32, 5)).astype("float32")
    soft = [softmax(logits / temperature) for logits in (teacher, student)]
    expected = temperature**2 * np.mean(np.sum(soft[0] * np.log(soft[0] / soft[1]), axis=1))
    objectives = [
        Objective(Task.classification(), "output", {"output": (5,)}, {"output": probabilities})
        for probabilities in (teacher_probabilities, student_probabilities)
    ]
    loss = TaughtOutputs(*objectives, temperature)
    got = loss.compute_loss(
        softmax(teacher) if teacher_probabilities else teacher,
        softmax(student) if student_probabilities else student,
    )
    np.testing.assert_allclose(float(got), expected, rtol=1e-4)


def test_teacher_that_gives_probabilities_teaches_the_same(teacher, data):
    students = [
        distill(model, classifier(seed=2), data, epochs=1, verbose=0)
        for model in (teacher, with_softmax(teacher))
    ]
    outputs = [np.asarray(student(data.x_test, training=False)) for student in students]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("last", [None, "softmax"])
def test_student_learns_from_the_teacher_alone(last, teacher, data):
    """The labels are shuffled, so all that is learnt came from the teacher."""
    shuffled = np.random.default_rng(3).permutation(data.y_train)
    nonsense = Data(data.x_train, shuffled, data.x_test, data.y_test)
    student = classifier(last=last, seed=4)
    trained = distill(
        teacher, student, nonsense, alpha=0.0, epochs=24, learning_rate=1e-2, verbose=0
    )
    assert agreement(teacher, trained, data.x_test) > 0.85
    labels_alone = distill(
        teacher, student, nonsense, alpha=1.0, epochs=24, learning_rate=1e-2, verbose=0
    )
    assert agreement(teacher, labels_alone, data.x_test) < 0.6


def test_features_come_to_agree(teacher, data):
    student = classifier(64, seed=5, name="student")

    def distance(model):
        features = [
            keras.Model(m.inputs[0], m.get_layer("hidden").output)(data.x_test)
            for m in (teacher, model)
        ]
        return float(np.mean((np.asarray(features[0]) - np.asarray(features[1])) ** 2))

    trained = [
        distill(teacher, student, data, 1.0, 0.0, 20, pairs, learning_rate=1e-2, verbose=0)
        for pairs in (None, {"hidden": "hidden"})
    ]
    assert distance(trained[1]) < 0.75 * distance(trained[0])


def test_teacher_and_student_given_in_are_left_as_they_were(teacher, data):
    teacher.get_layer("norm").trainable = False
    student = classifier(seed=6)
    before = [model.get_weights() for model in (teacher, student)]
    trained = distill(teacher, student, data, epochs=1, verbose=0)
    for weights, model in zip(before, (teacher, student), strict=True):
        for left, right in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)
    assert [layer.trainable for layer in teacher.layers] == [True, False, True]
    assert teacher.trainable
    assert not np.allclose(trained.layers[0].kernel, student.layers[0].kernel)
    assert [layer.name for layer in trained.layers] == [layer.name for layer in student.layers]
    teacher.get_layer("norm").trainable = True


def test_interrupted_training_leaves_everything_as_it_was(teacher, data, monkeypatch):
    def interrupted(self, *args, **kwargs):
        self.student.layers[0].kernel.assign(self.student.layers[0].kernel * 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.distillation.Distiller, "fit", interrupted)
    student = classifier(seed=7)
    before = student.get_weights()
    with pytest.raises(KeyboardInterrupt):
        distill(teacher, student, data, verbose=0)
    assert all(layer.trainable for layer in teacher.layers)
    for left, right in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_what_is_printed(teacher, data, capsys):
    distill(teacher, classifier(last="softmax"), data, epochs=1, verbose=0)
    assert capsys.readouterr().out == ""
    distill(teacher, classifier(last="softmax", name="small"), data, epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "gives logits" in lines[0]
    assert "small (227 weights, gives probabilities)" in lines[0]
    assert len(lines[1].split(":")[1].split()) == 2


def other_input():
    return keras.Sequential([keras.Input((5,)), layers.Dense(3)])


def nan_student():
    model = classifier()
    model.layers[0].kernel.assign(np.full((6, 16), np.nan))
    return model


def unbuilt():
    return keras.Sequential([layers.Dense(3)])


@pytest.mark.parametrize(
    ("build", "arguments", "error", "words"),
    [
        (classifier, {"temperature": 0}, ParameterError, "above 0"),
        (classifier, {"alpha": 1.5}, ParameterError, "0 to 1"),
        (classifier, {"epochs": 0}, ParameterError, "at least 1"),
        (
            lambda: classifier(outputs=5),
            {},
            ModelError,
            r"\(3,\) and the student classifier \(5,\)",
        ),
        (lambda: classifier(outputs=2), {}, DataError, "labels run from 0 to 2, for 2 outputs"),
        (other_input, {}, ModelError, r"samples of shape \(6,\)"),
        (nan_student, {}, ModelError, "NaN"),
        (unbuilt, {}, ModelError, "not built"),
        (classifier, {"features": {"hiden": "hidden"}}, ModelError, "no layer 'hiden'"),
        (classifier, {"features": {"hidden": "hidden"}}, ModelError, r"\(64,\).*\(16,\)"),
    ],
)
def test_bad_input_is_one_clear_line_before_training(
    build, arguments, error, words, teacher, data, monkeypatch
):
    monkeypatch.setattr(
        keras.distillation.Distiller, "fit", lambda *_, **__: pytest.fail("trained")
    )
    with pytest.raises(error, match=words) as raised:
        distill(teacher, build(), data, verbose=0, **arguments)
    assert "\n" not in str(raised.value)


def test_diverging_training_is_an_error(teacher, data):
    with pytest.raises(ModelError, match="learning_rate"):
        distill(teacher, classifier(), data, learning_rate=1e30, verbose=0)
