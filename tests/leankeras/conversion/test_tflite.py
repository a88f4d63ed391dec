"""Conversion in every mode of many kinds of model, and what is refused."""

import os
import signal

import keras
import numpy as np
import pytest

import leankeras
from kopt.cases.catalogue import find_case
from leankeras import child
from leankeras.conversion import attempt, converter
from leankeras.conversion.tflite import convert
from leankeras.errors import ConversionError, ModelError, ParameterError
from leankeras.modes import MODES
from leankeras.runtime.litert import LiteRTModel

layers = keras.layers
random = np.random.default_rng(0)


def functional(function, shape=(16, 2), name="net", **options):
    inputs = keras.Input(shape, **options)
    return keras.Model(inputs, function(inputs), name=name)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.hidden = layers.Dense(8, activation="relu")
        self.memory = layers.LSTM(4)

    def call(self, x, training=None):
        hidden = self.hidden(x)
        return {"last": self.memory(hidden), "all": hidden}


class Counting(layers.Layer):
    calls = 0

    def call(self, x):
        self.calls += 1
        return x * self.calls


class Determinant(layers.Layer):
    def call(self, x):
        import tensorflow as tf

        return tf.linalg.det(x)[:, None]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_what_it_promises(model, samples, tmp_path, mode):
    if mode == "int16x8":
        # LayerNormalization has no int16 kernels.
        model = keras.Sequential([keras.Input((16, 2)), model.layers[1], *model.layers[3:4]])
    conversion = convert(model, tmp_path / "model.tflite", mode, samples)
    types = conversion.tensor_types
    expected = {
        "float32": types.get("int8", 0) == types.get("float16", 0) == 0,
        "float16": types.get("float16", 0) >= 4,
        "dynamic": types.get("int8", 0) >= 1,
        "int8": types["float32"] == 2 if "float32" in types else False,
        "int8-io": "float32" not in types,
        "uint8-io": "float32" not in types and types.get("uint8") == 2,
        "int16x8": types.get("int16", 0) >= 3,
    }
    assert expected[mode]
    got = LiteRTModel(conversion.path)(samples)
    reference = np.asarray(model(samples))
    assert got.shape == reference.shape
    assert np.abs(got - reference).max() < (1e-5 if mode == "float32" else 0.1)
    assert conversion.size_bytes == conversion.path.stat().st_size
    assert conversion.gzip_bytes <= conversion.size_bytes
    assert conversion.max_abs_diff < (1e-5 if mode == "float32" else 0.1)


def test_the_default_model_in_all_modes_starts_tensorflow_once(tmp_path, monkeypatch):
    case = find_case("signal")
    model, x = case.build(), case.load().x_train[:20]
    starts = []
    start = child.subprocess.Popen

    def counted(*arguments, **options):
        starts.append(arguments)
        return start(*arguments, **options)

    monkeypatch.setattr(child.subprocess, "Popen", counted)
    converter.shared.close()
    for mode in MODES:
        convert(model, tmp_path / "a.tflite", mode, x)
    assert len(starts) == 1


def test_operators_carry_layer_names(converted):
    operators = converted["float32"].operators
    by_layer = operators.groupby("layer").operator.agg(set)
    assert "CONV_2D" in by_layer["dense"]
    assert {"MEAN", "RSQRT"} <= by_layer["dense_1"]
    assert by_layer["head"] == {"FULLY_CONNECTED", "SOFTMAX"}


def multiple_inputs():
    # Names that are also arguments of numpy.savez, which carries the arrays.
    a, b = keras.Input((8,), name="file"), keras.Input((4,), name="b b")
    both = layers.Dense(2)(layers.Concatenate()([a, b]))
    samples = {"file": random.normal(size=(16, 8)), "b b": random.normal(size=(16, 4))}
    outputs = {"sum": both, "allow_pickle": layers.Dense(1)(a)}
    return keras.Model({"file": a, "b b": b}, outputs), samples


def indices():
    def embed(x):
        return layers.Dense(2)(layers.GlobalAveragePooling1D()(layers.Embedding(50, 8)(x)))

    return functional(embed, (12,), dtype="int32"), random.integers(0, 50, (16, 12))


def open_shape():
    def pool(x):
        return layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))

    return functional(pool, (None, None, 3)), random.normal(size=(16, 12, 12, 3))


def nested():
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(8, name="head")], name="inner")
    outputs = functional(lambda x: layers.Dense(2, name="head")(inner(x)), (8,))
    return outputs, random.normal(size=(16, 8))


def half_precision():
    def mixed(x):
        x = layers.Conv1D(8, 3, dtype="mixed_float16")(x)
        return layers.Dense(4, dtype="mixed_float16")(layers.Flatten()(x))

    return functional(mixed), random.normal(size=(16, 16, 2))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 16, 2), "float32"))
    return model, random.normal(size=(16, 16, 2))


def operations():
    def graph(x):
        return keras.ops.sum(keras.ops.softmax(x) * keras.ops.mean(x, 1, keepdims=True), -1)

    return functional(graph), random.normal(size=(16, 16, 2))


def layer_model(*stack, shape=(16, 2), offset=0.0):
    def make():
        keras.utils.set_random_seed(2)
        return keras.Sequential([keras.Input(shape), *(s() for s in stack)]), random.normal(
            offset, size=(16, *shape)
        )

    return make


KINDS = {
    "dict inputs and outputs": multiple_inputs,
    "integer inputs": indices,
    "open shape": open_shape,
    "nested": nested,
    "mixed_float16": half_precision,
    "subclassed": subclassed,
    "keras.ops": operations,
    "LSTM": layer_model(lambda: layers.LSTM(8)),
    "GRU": layer_model(lambda: layers.GRU(8, return_sequences=True)),
    "Bidirectional": layer_model(lambda: layers.Bidirectional(layers.LSTM(4, return_sequences=1))),
    "GroupNormalization": layer_model(lambda: layers.GroupNormalization(2)),
    "RMSNormalization": layer_model(lambda: layers.RMSNormalization(), offset=4.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_model_convert(kind, tmp_path):
    model, samples = KINDS[kind]()
    exact = convert(model, tmp_path / "float.tflite", "float32", samples)
    quantized = convert(model, tmp_path / "int8.tflite", "int8", samples)
    assert exact.max_abs_diff < 1e-5
    # Rounding stays below 6 % of the largest output; a wrong scale anywhere is far above.
    floats = LiteRTModel(exact.path)(samples)
    integers = LiteRTModel(quantized.path)(samples)
    pairs = [(floats, integers)]
    if isinstance(floats, dict):
        pairs = [(floats[name], integers[name]) for name in floats]
    for reference, values in pairs:
        assert np.abs(reference - values).max() <= 0.06 * max(1e-3, np.abs(reference).max())


def test_outputs_whose_names_become_alike_are_all_there(tmp_path):
    x = keras.Input((4,))
    outputs = {"a b": layers.Dense(1)(x), "a_b": layers.Dense(3)(x)}
    conversion = convert(keras.Model(x, outputs), tmp_path / "a.tflite", "float32")
    shapes = {
        name: tuple(details["shape"])
        for name, details in LiteRTModel(conversion.path).output_details.items()
    }
    assert shapes == {"output_0": (1, 1), "output_1": (1, 3)}


def test_the_model_is_left_as_it_was(tmp_path):
    model, samples = KINDS["LSTM"]()
    mixed, _ = half_precision()
    before = [np.array(w) for w in model.weights]
    convert(model, tmp_path / "a.tflite", "int8", samples)
    convert(mixed, tmp_path / "b.tflite", "float32")
    assert not model.layers[0].unroll
    assert {layer.dtype_policy.name for layer in mixed.layers[1:4:2]} == {"mixed_float16"}
    assert all(np.array_equal(a, b) for a, b in zip(before, model.weights, strict=True))
    assert "_open_name_scope" not in vars(model.layers[0])


def test_a_file_converts_like_the_model_in_it(tmp_path):
    model, samples = subclassed()
    model.save(tmp_path / "mit Umlaut ä.keras")
    convert(model, tmp_path / "a.tflite", "int8", samples)
    convert(tmp_path / "mit Umlaut ä.keras", tmp_path / "ä b.tflite", "int8", samples)
    first = LiteRTModel(tmp_path / "a.tflite")(samples)
    second = LiteRTModel(tmp_path / "ä b.tflite")(samples)
    assert all(np.array_equal(first[name], second[name]) for name in ("last", "all"))


def test_saved_model_with_an_open_batch_converts(model, samples, tmp_path):
    model.export(tmp_path / "saved", verbose=False)
    conversion = convert(tmp_path / "saved", tmp_path / "a.tflite", "int8-io", samples)
    reference = np.asarray(model(samples))
    assert np.abs(LiteRTModel(conversion.path)(samples) - reference).max() < 0.1
    assert "hidden" in " ".join(conversion.operators.layer)


class FakeQuantized:
    """A quantization-aware model as conversion sees it: something with export(directory)."""

    limit = 4.0

    def export(self, directory):
        import tensorflow as tf

        weights = tf.Variable(random.normal(size=(8, 4)).astype("float32"))

        @tf.function(input_signature=[tf.TensorSpec((1, 8), tf.float32, name="x")])
        def serve(x):
            quantize = tf.quantization.fake_quant_with_min_max_args
            x = quantize(x, -self.limit, self.limit)
            kernel = quantize(weights, -2.0, 2.0, narrow_range=True)
            return {"output": quantize(x @ kernel, -16.0, 16.0)}

        holder = tf.Module()
        holder.weights, holder.serve = weights, serve
        tf.saved_model.save(holder, directory, {"serving_default": serve.get_concrete_function()})


@pytest.mark.parametrize("calibration", [None, 100 * random.normal(size=(16, 8))])
def test_quantization_aware_model_keeps_its_ranges(tmp_path, calibration):
    conversion = convert(FakeQuantized(), tmp_path / "a.tflite", "int8-io", calibration)
    details = LiteRTModel(conversion.path).input_details["x"]
    assert details["quantization"][0] == pytest.approx(8 / 255, rel=1e-3)
    with pytest.raises(ConversionError, match="expected one of int8, int8-io, uint8-io"):
        convert(FakeQuantized(), tmp_path / "a.tflite", "float16")


def test_kept_layers_stay_in_float(model, samples, tmp_path):
    conversion = convert(model, tmp_path / "a.tflite", "int8", samples, keep_float=["dense_1"])
    types = conversion.operators.groupby("layer").type.agg(set)
    assert types["dense_1"] == {"float32"}
    assert types["dense"] == types["hidden"] == {"int8"}


def test_operators_left_in_float_are_refused_by_layer(samples, tmp_path):
    def rounded(x):
        return keras.ops.floor(layers.Dense(4, name="dense")(x))

    model = functional(rounded)
    with pytest.raises(ConversionError, match=r"FLOOR of layer 'Floor'.*keep_float=\['Floor'\]"):
        convert(model, tmp_path / "a.tflite", "int8", samples)
    assert not (tmp_path / "a.tflite").exists()
    convert(model, tmp_path / "a.tflite", "int8", samples, keep_float=["Floor"])


def stateful():
    inputs = keras.Input(batch_shape=(1, 4, 3))
    return keras.Model(inputs, layers.LSTM(2, stateful=True, name="lstm")(inputs))


def test_states_as_inputs_and_outputs_convert(tmp_path):
    steps = keras.Input((4, 3), name="steps")
    states = [keras.Input((2,), name=name) for name in ("hidden", "cell")]
    output, *after = layers.LSTM(2, return_state=True)(steps, initial_state=states)
    model = keras.Model([steps, *states], [output, *after])
    convert(model, tmp_path / "a.tflite", "float32")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: functional(Determinant(name="det"), (4, 4)), r"MatrixDeterminant \(layer det\)"),
        (lambda: functional(Counting()), "Python state"),
        (lambda: keras.Sequential([layers.Dense(2)]), "not built"),
        (lambda: functional(layers.Dense(2), (None, 2)), "open shape"),
        (stateful, "layer lstm is stateful: .*stateful=False"),
        (lambda: functional(layers.TextVectorization(10), (1,), dtype="string"), "strings"),
        (lambda: "no such file.keras", "no such file"),
        (lambda: 42, r"cannot convert a builtins\.int"),
    ],
)
def test_refusals_name_the_cause(make, message, tmp_path):
    target = make()
    with pytest.raises((ConversionError, ModelError), match=message):
        convert(target, tmp_path / "a.tflite", "float32")


def test_a_model_without_operators_converts(samples, tmp_path):
    model = functional(layers.GaussianNoise(1.0))
    assert convert(model, tmp_path / "a.tflite", "int8", samples).max_abs_diff < 0.05


def test_nan_weights_are_named(tmp_path):
    model = functional(layers.Dense(2, name="broken"))
    model.layers[1].kernel.assign(np.full((2, 2), np.nan))
    with pytest.raises(ConversionError, match="broken/kernel holds NaN"):
        convert(model, tmp_path / "a.tflite", "float32")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "int4"}, "expected one of float32"),
        ({"mode": "int8"}, "needs calibration samples"),
        ({"mode": "float32", "keep_float": ["head"]}, "no effect"),
        ({"mode": "int8", "keep_float": "head"}, "expected a list"),
        ({"mode": "int8", "keep_float": ["haed"]}, "the layers are .*head"),
    ],
)
def test_parameters_are_checked_first(model, samples, tmp_path, options, message):
    calibration = samples if "keep_float" in options else None
    with pytest.raises(ParameterError, match=message):
        convert(model, tmp_path / "a.tflite", calibration=calibration, **options)


def test_paths_are_checked_first(model, tmp_path):
    with pytest.raises(ParameterError, match="no such directory"):
        convert(model, tmp_path / "missing" / "a.tflite", "float32")
    with pytest.raises(ParameterError, match="expected a name that ends in"):
        convert(model, tmp_path / "model", "float32")
    (tmp_path / "folder.tflite").mkdir()
    with pytest.raises(ParameterError, match="is a directory"):
        convert(model, tmp_path / "folder.tflite", "float32")


def rolled_lstm(directory):
    """A SavedModel that the converter's calibrator crashes on: a loop over timesteps."""
    import tensorflow as tf

    model = keras.Sequential([keras.Input((8, 2)), layers.LSTM(4)])

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 2), tf.float32, name="x")])
    def serve(x):
        return {"output": model(x, training=False)}

    holder = tf.Module()
    holder.weights, holder.serve = [v.value for v in model.variables], serve
    tf.saved_model.save(holder, directory, {"serving_default": serve.get_concrete_function()})


def test_a_crash_is_an_error_and_the_next_conversion_works(model, samples, tmp_path):
    rolled_lstm(str(tmp_path / "saved"))
    (tmp_path / "a.tflite").write_bytes(b"the file before")
    with pytest.raises(ConversionError, match=r"killed by signal 11 \(SIGSEGV\)"):
        convert(tmp_path / "saved", tmp_path / "a.tflite", "int8", samples[:, :8])
    assert (tmp_path / "a.tflite").read_bytes() == b"the file before"
    assert convert(model, tmp_path / "a.tflite", "int8", samples).max_abs_diff < 0.1


def test_a_killed_child_is_replaced(model, samples, tmp_path):
    convert(model, tmp_path / "a.tflite", "float32")
    os.kill(converter.shared.process.pid, signal.SIGKILL)
    converter.shared.process.wait()
    assert leankeras.convert(model, tmp_path / "a.tflite", "int8", samples).max_abs_diff < 0.1


def test_a_full_temporary_directory_is_told(model, samples, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(attempt, "write_arrays", full)
    with pytest.raises(ConversionError, match=r"no space to work in .* set TMPDIR"):
        convert(model, tmp_path / "a.tflite", "int8", samples)
    assert not list(tmp_path.iterdir())


def test_an_unwritable_place_leaves_nothing_behind(model, samples, tmp_path, monkeypatch):
    (tmp_path / "a.tflite").write_bytes(b"the file before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ConversionError, match="No space left on device"):
        convert(model, tmp_path / "a.tflite", "float32")
    assert [file.name for file in tmp_path.iterdir()] == ["a.tflite"]
    assert (tmp_path / "a.tflite").read_bytes() == b"the file before"
