from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from leankeras.diagnosis.diagnosis import diagnose
from leankeras.diagnosis.rules import RULES
from leankeras.errors import EquivalenceError, ModelError
from tests.layers import PATTERNS, WELL_WRITTEN, faulty
from tests.layers.convolutions import FilterLoop
from tests.layers.faulty import FAULTY, INPUT_SHAPE
from tests.layers.routing import SoftForest


def severities(diagnosis) -> dict[str, str]:
    return {finding.rule: finding.severity for finding in diagnosis.findings}


def line_of(finding) -> str:
    path, line = finding.where.split(":")
    return Path(path).read_text().splitlines()[int(line) - 1].strip()


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_a_pattern_is_diagnosed_as_by_a_person_who_knows(pattern):
    assert severities(diagnose(pattern.slow(), pattern.input_shape)) == pattern.findings


@pytest.mark.parametrize(("cls", "input_shape"), WELL_WRITTEN, ids=lambda value: str(value))
def test_a_well_written_layer_has_no_finding(cls, input_shape):
    assert diagnose(cls(), input_shape).findings == ()


@pytest.mark.parametrize(("cls", "arguments", "expected"), FAULTY)
def test_a_fault_gives_its_finding_and_no_other(cls, arguments, expected):
    found = severities(diagnose(cls(**arguments), INPUT_SHAPE))
    assert found.pop("private-import") == "warning"  # the file with these layers has one
    assert found == expected


def test_every_rule_is_shown_by_a_layer_of_the_tests():
    shown = {rule for *_, rules in FAULTY for rule in rules} | {"private-import"}
    shown |= {rule for pattern in PATTERNS for rule in pattern.findings}
    # not-tried, lambda-layer, savedmodel-fails and reload-differs have tests of their own
    own = {"not-tried", "lambda-layer", "savedmodel-fails", "reload-differs"}
    assert shown | own == set(RULES)


def test_a_finding_says_where_and_how_much():
    layer = FilterLoop(filters=5)
    (finding,) = diagnose(layer, (32, 6)).findings
    assert line_of(finding) == "for kernel in self.kernels:"
    assert "5 steps, 40 of " in finding.message
    assert "Conv1D" in finding.fix


def test_an_error_that_no_rule_explains_says_its_line():
    found = {one.rule: one for one in diagnose(faulty.ToPython(), INPUT_SHAPE).findings}
    assert line_of(found["graph-fails"]) == "return x * self.scale * float(x[0, 0, 0])"


def test_a_fault_is_laid_to_the_line_it_came_from_and_to_no_other():
    @keras.saving.register_keras_serializable("tests")
    class Two(keras.Layer):
        def call(self, x):
            self.last = x
            if keras.ops.max(x) > 1:
                x = x / 2
            return x

    found = {finding.rule: finding for finding in diagnose(Two(), (4,)).findings}
    assert found["state-in-call"].severity == "warning"
    assert found["control-flow-on-tensor"].severity == "error"
    assert line_of(found["control-flow-on-tensor"]) == "if keras.ops.max(x) > 1:"


def test_a_loop_that_is_run_several_times_is_short_by_what_each_run_takes():
    found = {one.rule: one for one in diagnose(SoftForest(trees=6, depth=3), (10,)).findings}
    assert "18 steps in 6 runs" in found["recurrence"].message
    assert "; 6 steps, " in found["loop-over-branches"].message


def test_steps_grow_with_the_loop_and_a_short_loop_is_a_remark():
    few = diagnose(FilterLoop(filters=4), (32, 6))
    many = diagnose(FilterLoop(filters=16), (32, 6))
    assert severities(few) == {"loop-over-filters": "info"}
    assert severities(many) == {"loop-over-filters": "warning"}
    growth = many.observed["graph nodes"] - few.observed["graph nodes"]
    assert growth == 12 * 8  # eight operations per filter


def test_a_model_is_tried_as_a_whole_and_its_custom_layers_are_read():
    inputs = keras.Input((32, 6))
    hidden = keras.layers.GlobalAveragePooling1D()(FilterLoop()(inputs))
    diagnosis = diagnose(keras.Model(inputs, keras.layers.Dense(3)(hidden)))
    assert severities(diagnosis) == {"loop-over-filters": "warning"}
    assert "FULLY_CONNECTED" in diagnosis.observed["TFLite operators"]


@pytest.mark.parametrize(
    ("layers", "input_shape"),
    [
        ([keras.Input((6,), dtype="int32"), keras.layers.Embedding(10, 3)], None),
        ([keras.Input((None, 4)), keras.layers.LSTM(3)], (8, 4)),
        ([keras.Input(batch_shape=(1, 4)), keras.layers.Dense(3)], None),
    ],
    ids=["token ids", "open length", "batch of 1"],
)
def test_a_model_of_keras_layers_has_no_finding(layers, input_shape):
    assert diagnose(keras.Sequential(layers), input_shape).findings == ()


def test_several_inputs():
    first, second = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([first, second], keras.layers.Add()([first, second]))
    assert diagnose(model).findings == ()


def test_a_recurrent_layer_with_dropout_converts_as_any_other():
    assert diagnose(keras.layers.GRU(3, dropout=0.1, recurrent_dropout=0.1), (3, 2)).findings == ()


def test_one_list_is_one_finding_with_its_lines():
    @keras.saving.register_keras_serializable("tests")
    class Keeps(keras.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.seen = []

        def call(self, x):
            self.seen.append(x)
            x = x * 2
            self.seen.append(x)
            self.seen.extend([x, x])
            self.seen[0] = x
            return x

    (found,) = diagnose(Keeps(), (4,)).findings
    first = Keeps.call.__code__.co_firstlineno
    assert found.rule == "state-in-call"
    assert found.lines == tuple(first + line for line in (1, 3, 4, 5))
    assert f"lines {first + 1}, {first + 3}, {first + 4}, {first + 5}" in found.message
    assert found.where.endswith(f":{first + 1}")


def test_one_function_in_many_lambdas_is_one_finding():
    def double(x):
        return x * 2

    shared = keras.layers.Lambda(double, name="shared")
    x = inputs = keras.Input((4,))
    for layer in (shared, shared, *(keras.layers.Lambda(double, name=f"n{i}") for i in range(3))):
        x = layer(x)
    (found,) = diagnose(keras.Model(inputs, x)).findings
    assert (found.rule, found.where) == ("lambda-layer", "shared, n0, n1, n2")


def test_a_lambda_that_loads_in_safe_mode_is_none():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(triple)])
    assert diagnose(model).findings == ()


@keras.saving.register_keras_serializable("tests")
def triple(x):
    return x * 3


def test_a_constructor_without_kwargs_is_one_finding_that_says_so():
    @keras.saving.register_keras_serializable("tests")
    class Closed(keras.Layer):
        def __init__(self, units=3):
            super().__init__()
            self.units = units

        def get_config(self):
            return {**super().get_config(), "units": self.units, "note": "x" * 400}

        def call(self, x):
            return x * self.units

    (found,) = diagnose(Closed(), (4,)).findings
    assert found.rule == "reload-fails"
    assert "Closed.__init__() got an unexpected keyword argument 'name'" in found.message
    assert "**kwargs" in found.fix


def test_a_layer_within_a_layer_is_made_again_as_a_file_makes_it():
    @keras.saving.register_keras_serializable("tests")
    class Around(keras.Layer):
        def __init__(self, inner, **kwargs):
            super().__init__(**kwargs)
            self.inner = inner

        def build(self, input_shape):
            if not self.inner.built:  # as it is when loaded from a config
                self.inner.build(input_shape)

        def get_config(self):
            return {**super().get_config(), "inner": self.inner}

        def call(self, x):
            return self.inner(x) * 2

    @keras.saving.register_keras_serializable("tests")
    class Restoring(Around):
        @classmethod
        def from_config(cls, config):
            inner = keras.saving.deserialize_keras_object(config.pop("inner"))
            return cls(inner, **config)

    assert severities(diagnose(Around(keras.layers.Dense(3)), (4,))) == {"reload-fails": "error"}
    assert diagnose(Restoring(keras.layers.Dense(3)), (4,)).findings == ()


def test_what_does_not_run_is_not_read():
    @keras.saving.register_keras_serializable("tests")
    class Branching(keras.Layer):
        def __init__(self, mode="plain", **kwargs):
            super().__init__(**kwargs)
            self.mode = mode

        def call(self, x, training=False):
            if self.mode == "numpy":
                return np.stack([np.power(x, k) for k in range(8)])
            if training:
                self.last = x + tf.random.normal((4,))
                for _ in range(9):
                    x = x + tf.random.normal(tf.shape(x))
            return x * 2

    assert diagnose(Branching(), (4,)).findings == ()


def test_attributes_that_hold_sizes_are_settled():
    @keras.saving.register_keras_serializable("tests")
    class Sizes(keras.Layer):
        def call(self, x):
            self.steps, self.features = x.shape[1:]
            return keras.ops.reshape(x, (-1, self.steps * self.features))

    assert diagnose(Sizes(), (4, 3)).findings == ()


def test_a_sample_that_takes_the_first_ones_place_is_seen():
    @keras.saving.register_keras_serializable("tests")
    class FirstOnly(keras.Layer):
        def call(self, inputs):
            values, gates = inputs
            return values * gates[0]

    assert severities(diagnose(FirstOnly(), [(4,), (4,)])) == {"batch-dependent": "error"}


def test_a_loop_over_a_batch_of_a_given_size():
    @keras.saving.register_keras_serializable("tests")
    class Two(keras.Layer):
        def call(self, x):
            return keras.ops.stack([keras.ops.tanh(x[i]) for i in range(2)])

    assert severities(diagnose(Two(), (4,))) == {"loop-over-batch": "error"}


def test_a_lambda_layer_is_an_error_since_its_file_does_not_load():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2, name="two")])
    (finding,) = diagnose(model).findings
    assert (finding.rule, finding.severity, finding.where) == ("lambda-layer", "error", "two")


def test_a_class_that_needs_arguments_is_read_and_not_tried():
    class Scale(keras.Layer):
        def __init__(self, factor, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, x):
            return keras.ops.stack([self.factor * x**power for power in range(9)])

    found = diagnose(Scale, (4,))
    assert severities(found) == {
        "python-loop": "warning",
        "not-tried": "info",
        "unregistered": "info",
    }
    assert any("constructor arguments factor" in finding.message for finding in found.findings)


def test_a_layer_without_a_shape_is_read_and_not_tried():
    found = severities(diagnose(FilterLoop()))
    assert found == {"loop-over-filters": "warning", "not-tried": "info"}


def test_the_layer_keeps_its_weights():
    layer = FilterLoop()
    layer.build((None, 32, 6))
    before = [weight.numpy() for weight in layer.weights]
    diagnose(layer, (32, 6))
    for weight, value in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_variables_of_any_kind_keep_their_values():
    class Both(keras.Layer):
        def build(self, input_shape):
            self.kept = self.add_weight(shape=(3,), initializer="ones", trainable=False)
            self.plain = tf.Variable(tf.zeros(3))

        def call(self, x, training=False):
            if training:
                self.kept.assign(self.kept + 1)
                self.plain.assign(self.plain + 1)
            return x * self.kept + self.plain

    layer = Both()
    layer.build((None, 3))
    diagnose(layer, (3,))
    np.testing.assert_array_equal(layer.kept, np.ones(3))
    np.testing.assert_array_equal(layer.plain, np.zeros(3))


def hidden_table() -> np.ndarray:
    return np.random.default_rng().normal(size=4).astype("float32")


def test_what_only_a_reload_shows():
    @keras.saving.register_keras_serializable("tests")
    class Table(keras.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.table = hidden_table()

        def call(self, x):
            return x * self.table

    assert severities(diagnose(Table(), (4,))) == {"reload-differs": "error"}


def test_what_only_an_export_shows():
    @keras.saving.register_keras_serializable("tests")
    class Hidden(keras.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            pairs = tf.lookup.KeyValueTensorInitializer([0, 1], [2.0, 3.0])
            table = tf.lookup.StaticHashTable(pairs, default_value=1.0)
            self.look_up = lambda keys: table.lookup(keys)

        def call(self, x):
            return x * self.look_up(tf.cast(x > 0, "int32"))

    assert severities(diagnose(Hidden(), (4,))) == {"savedmodel-fails": "error"}


def test_open_shapes_and_shapes_with_a_batch_are_refused():
    model = keras.Sequential([keras.Input((None, 4)), keras.layers.LSTM(3)])
    with pytest.raises(ModelError, match="open shape"):
        diagnose(model)
    with pytest.raises(EquivalenceError, match="without the batch"):
        diagnose(FilterLoop(), (None, 32, 6))
