import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest

from leankeras.conversion.tflite import convert
from leankeras.errors import ModelError
from leankeras.runtime.operators import _shares, compare_operators, profile_operators


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model of which one layer has a hundred times the work of all others, by mode."""
    directory = tmp_path_factory.mktemp("operators")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((20, 20, 4))
    x = keras.layers.Conv2D(8, 1, activation="tanh", name="small")(inputs)
    x = keras.layers.Conv2D(32, 12, activation="relu", name="large")(x)
    x = keras.layers.Dense(8, name="middle")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.ops.floor(x))
    samples = np.random.default_rng(0).normal(size=(16, 20, 20, 4))
    return {
        "float32": convert(model, directory / "float32.tflite", "float32").path,
        "int8": convert(
            model, directory / "int8.tflite", "int8", samples, keep_float=["Floor"]
        ).path,
    }


@pytest.mark.parametrize("mode", ["float32", "int8"])
def test_the_heavy_layer_takes_the_time(files, mode):
    table = profile_operators(files[mode])
    assert list(table.columns) == ["operator", "layer", "type", "kernel", "share", "us"]
    assert table.share.sum() == pytest.approx(1)
    assert (table.share >= 0).all()
    assert table.groupby("layer").share.sum().idxmax() == "large"
    assert table.us.sum() > 0
    weighted = table[table.operator.isin(["CONV_2D", "FULLY_CONNECTED"])]
    assert len(weighted) == 3
    assert set(weighted.type) == {mode}
    assert set(weighted.kernel) == {"XNNPACK"}


def profile(*rows):
    columns = ["operator", "layer", "us", "kernel"]
    return pd.DataFrame(rows, columns=columns)


def test_operators_stand_side_by_side_and_casts_alone():
    float32 = profile(
        ("CONV_2D", "conv", 8.0, "XNNPACK"),
        ("FLOOR", "floor", 1.0, "XNNPACK"),
        ("FULLY_CONNECTED", "steps", 2.0, "XNNPACK"),
        ("FULLY_CONNECTED", "steps", 3.0, "XNNPACK"),
    )
    int8 = profile(
        ("QUANTIZE", "", 0.5, "XNNPACK"),
        ("CONV_2D", "quant_conv", 2.0, "XNNPACK"),
        ("FULLY_CONNECTED", "quant_steps", 1.0, "XNNPACK"),
        ("FULLY_CONNECTED", "quant_steps", 1.0, "built-in"),
    )
    table = compare_operators(float32, int8)
    assert table.to_dict("split") == {
        "index": [("", "QUANTIZE"), ("conv", "CONV_2D"), ("floor", "FLOOR"),
                  ("steps", "FULLY_CONNECTED")],
        "columns": ["count", "float_us", "int8_us", "saved_us", "float_kernel", "int8_kernel"],
        "data": [
            [1, 0.0, 0.5, -0.5, "", "XNNPACK"],
            [1, 8.0, 2.0, 6.0, "XNNPACK", "XNNPACK"],
            [1, 1.0, 0.0, 1.0, "XNNPACK", ""],
            [2, 5.0, 2.0, 3.0, "XNNPACK", "XNNPACK, built-in"],
        ],
    }  # fmt: skip


def test_nothing_of_two_profiles_is_lost(files):
    profiles = {mode: profile_operators(path) for mode, path in files.items()}
    table = compare_operators(profiles["float32"], profiles["int8"])
    assert table.float_us.sum() == pytest.approx(profiles["float32"].us.sum())
    assert table.int8_us.sum() == pytest.approx(profiles["int8"].us.sum())
    row = table.loc[("large", "CONV_2D")]
    assert (row["count"], row.float_kernel, row.int8_kernel) == (1, "XNNPACK", "XNNPACK")


def test_a_file_that_is_no_tflite(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        profile_operators(tmp_path / "missing.tflite")
    (tmp_path / "text.tflite").write_text("hello")
    with pytest.raises(ModelError, match=r"not a \.tflite"):
        profile_operators(tmp_path / "text.tflite")


def test_tensorflow_is_not_imported(files):
    code = (
        "import sys, leankeras; leankeras.profile_operators(sys.argv[1]);"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(files["int8"])], check=True)


def test_noise_of_many_small_operators_adds_nothing():
    noise = np.random.default_rng(0).normal(scale=0.02, size=400)
    share = _shares(np.concatenate([[0.1], 0.1 + noise, [1.0]]))
    assert (share >= 0).all()
    assert share.sum() == pytest.approx(1)
    assert share[-1] > 0.8
    np.testing.assert_allclose(_shares(np.array([0.2, 0.6, 1.0])), [0.2, 0.4, 0.4])
    np.testing.assert_allclose(_shares(np.array([0.6, 0.2, 1.0])), [0.4, 0.0, 0.6])
