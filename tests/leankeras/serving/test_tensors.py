"""Every tensor of a request becomes an array of the file's type, or a line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leankeras.errors import DataError
from leankeras.serving.engine import Tensor
from leankeras.serving.tensors import DATATYPES, check_answer, read_batch, read_tensor

FLOATS, BYTES = Tensor("x", "float32", (2,)), Tensor("k", "int8", (2,))


def test_lists_and_bytes_give_the_same_array():
    for data in ([1.5, -2.0], [[1.5, -2]], np.array([1.5, -2], "<f4").tobytes()):
        array = read_tensor(FLOATS, "FP32", [1, 2], data)
        assert (array.dtype, array.tolist()) == (np.float32, [[1.5, -2]])
    assert read_tensor(BYTES, "INT8", [1, 2], [-128, 127]).tolist() == [[-128, 127]]


@pytest.mark.parametrize("dtype", DATATYPES)
def test_every_type_survives_both_ways(dtype):
    tensor = Tensor("x", dtype, (3,))
    array = np.array([[0, 1, 1]], dtype)
    for data in (array.ravel().tolist(), array.tobytes()):
        assert read_tensor(tensor, DATATYPES[dtype], [1, 3], data).tobytes() == array.tobytes()


WRONG = {
    "datatype": ("FP64", [1, 2], [1, 2], "datatype 'FP64'; expected FP32"),
    "no datatype": (None, [1, 2], [1, 2], "datatype None"),
    "shape": ("FP32", [1, 3], [1, 2, 3], r"shape \[1, 3\]; expected \[n, 2\]"),
    "rank": ("FP32", [2], [1, 2], "expected"),
    "no samples": ("FP32", [0, 2], [], "n from 1 to"),
    "too many": ("FP32", [257, 2], [0] * 514, "n from 1 to 256"),
    "negative": ("FP32", [-1, 2], [1, 2], "n from 1 to"),
    "huge": ("FP32", [10**30, 2], [1, 2], "n from 1 to"),
    "shape of words": ("FP32", ["1", 2], [1, 2], "expected"),
    "shape of bools": ("FP32", [True, 2], [1, 2], "expected"),
    "no shape": ("FP32", None, [1, 2], "shape None"),
    "too few": ("FP32", [1, 2], [1], "1 values; its shape"),
    "ragged": ("FP32", [1, 2], [[1], [2, 3]], "other than a list of float32"),
    "words": ("FP32", [1, 2], ["1", "2"], "other than a list"),
    "null": ("FP32", [1, 2], [None, 1], "other than a list"),
    "objects": ("FP32", [1, 2], [{}, {}], "other than a list"),
    "bools": ("FP32", [1, 2], [True, False], "other than a list"),
    "one number": ("FP32", [1, 2], 7, "other than a list"),
    "no data": ("FP32", [1, 2], None, "other than a list"),
    "NaN": ("FP32", [1, 2], [float("nan"), 1], "NaN or infinite"),
    "too large": ("FP32", [1, 2], [1e300, 1], "NaN or infinite"),
    "bytes of NaN": ("FP32", [1, 2], np.array([np.nan, 1], "f4").tobytes(), "NaN or infinite"),
    "cut off": ("FP32", [1, 2], b"1234567", "7 bytes; expected 4 for each"),
    "too few bytes": ("FP32", [1, 2], b"1234", "1 values"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_in_a_line(wrong):
    datatype, shape, data, message = WRONG[wrong]
    with pytest.raises(DataError, match=message) as refused:
        read_tensor(FLOATS, datatype, shape, data)
    assert len(str(refused.value)) < 300
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("data", [[128, 0], [0, -129], [0.5, 1], [10**30, 0], [1.0, 2.0]])
def test_integers_are_whole_and_within_their_type(data):
    with pytest.raises(DataError):
        read_tensor(BYTES, "INT8", [1, 2], data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x", "k", "z"]) | st.text(max_size=3),
            st.sampled_from(["FP32", "INT8"]) | json_values,
            st.sampled_from([[1, 2], [2, 2]]) | json_values,
            st.lists(st.integers(-200, 200), min_size=2, max_size=4)
            | json_values
            | st.binary(max_size=9),
        ),
        max_size=3,
    )
)
def test_whatever_comes_is_an_array_or_a_data_error(tensors):
    try:
        batch = read_batch([FLOATS, BYTES], tensors)
    except DataError:
        return
    assert batch["x"].dtype == np.float32
    assert batch["k"].dtype == np.int8
    assert batch["x"].shape == batch["k"].shape == (len(batch["x"]), 2)


GOOD = ("x", "FP32", [1, 2], [1, 2])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([], "input k, x is missing"),
        ([GOOD], "input k is missing"),
        ([GOOD, GOOD], "input 'x' is given twice"),
        ([("y", *GOOD[1:])], "input 'y' is unknown; expected x, k"),
        ([GOOD, ("k", "INT8", [2, 2], [1, 2, 3, 4])], "differ in their number of samples"),
    ],
)
def test_names_are_the_files(tensors, message):
    with pytest.raises(DataError, match=message):
        read_batch([FLOATS, BYTES], tensors)


def test_an_answer_without_numbers_is_refused():
    check_answer({"y": np.ones(2, np.float32), "k": np.ones(2, np.int8)})
    with pytest.raises(DataError, match="output y is NaN or infinite"):
        check_answer({"y": np.array([np.inf], np.float32)})
