"""How an answer is displayed, in a terminal and in a notebook."""

import pytest

from leankeras.equivalence.tolerance import FAILS, Distance
from leankeras.equivalence.verdict import Row, conclude

SAME = Row("random", "output", Distance(True, 1e-7, 1e-4, "(0, 1)"))
OFF = Row("ones", "output", Distance(False, 0.5, 1e-4, "(0, 2)"))
GRADIENT = Row("random", "gradient of kernel", Distance(True, 0.0, 1e-3, ""))


@pytest.mark.parametrize(
    ("rows", "doubtful", "blind_to", "verdict", "reason"),
    [
        ([SAME], (), (), "equivalent", "outputs agree on 1 kind of input"),
        ([SAME, GRADIENT], (), (), "equivalent", "outputs and gradients agree on 1 kind of input"),
        (
            [SAME, OFF],
            (),
            (),
            "not equivalent",
            "on probe 'ones' the output is off by 0.5 at index (0, 2), tolerance 0.0001; 1 of 2 "
            "comparisons differ",
        ),
        (
            [SAME, OFF],
            ("ones",),
            (),
            "cannot tell",
            "on probe 'ones' the output is off by 0.5 at index (0, 2), tolerance 0.0001; if such "
            "inputs cannot occur, give your own samples",
        ),
        ([OFF, SAME], ("random",), ("q",), "not equivalent", "on probe 'ones'"),
        ([SAME], (), ("q", "k"), "cannot tell", "no output depended on `q`, `k`; give samples"),
    ],
)
def test_the_verdict_follows_from_the_comparisons(rows, doubtful, blind_to, verdict, reason):
    result = conclude(rows, set(doubtful), blind_to, ())
    assert result.verdict == verdict
    assert result.reason.startswith(reason)
    assert result.equivalent == (verdict == "equivalent")
    assert result.blind_to == blind_to


def test_samples_that_show_no_more_are_not_asked_for_again():
    row = Row("samples", "output", SAME.distance)
    assert "not even on the samples; give others" in conclude([row], set(), ["q"], ()).reason


def test_the_largest_difference_is_that_of_outputs():
    gradient = Row("random", "gradient of kernel", Distance(True, 9.0, 10.0, ""))
    assert conclude([SAME, gradient], set(), (), ()).max_abs_diff == 1e-7
    assert conclude([SAME, Row("ones", "output", FAILS)], set(), (), ()).max_abs_diff == float(
        "inf"
    )


def test_it_prints_itself_as_text():
    result = conclude([SAME, OFF], set(), (), ["values of `mask` other than 0 and 1"])
    said, left_out = str(result).splitlines()
    assert said.startswith("not equivalent: on probe 'ones' the output is off by 0.5")
    assert left_out == "not compared: values of `mask` other than 0 and 1"
    assert repr(result).startswith(str(result))
    assert "max_abs_diff" in repr(result)


def test_it_prints_itself_in_a_notebook():
    result = conclude([SAME, OFF], set(), (), ["what `<b>` holds"])
    page = result._repr_html_()
    assert "<b>Not equivalent</b>: on probe" in page
    assert "<li>what `&lt;b&gt;` holds</li>" in page
    assert "<table" in page
