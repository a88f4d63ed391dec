"""The exercise of predicting what a rewrite leaves of a graph's products."""

import pandas as pd
import pytest

from kopt import checks
from kopt.checks.check import NO_QUESTION, NOT_ANSWERED, NOT_YET


def graph(**counts):
    return pd.DataFrame({"operation": [kind for kind, n in counts.items() for _ in range(n)]})


BEFORE, AFTER = graph(Conv2D=66, MatMul=1, Relu=3), graph(Conv2D=3, MatMul=1, Relu=3)
CHAIN = graph(MatMul=32, Tanh=58)


def left(answer):
    return checks.products_left(answer, BEFORE, AFTER)


def test_right_answers_pass():
    assert left(4).passed
    assert left(...).state == NOT_ANSWERED
    # a first turn may start from zeros, so that its product is left out
    assert checks.products_left(33, graph(MatMul=231), CHAIN).passed


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(67, "how many there are now"), (63, "how many are left"), (1, "other layers"), (8, "large")],
)
def test_a_usual_mistake_is_named(answer, hint):
    check = left(answer)
    assert check.state == NOT_YET
    assert hint in check.message


def test_where_no_product_was_merged_there_is_no_question():
    check = checks.products_left(4, AFTER, graph(DepthwiseConv2dNative=3, Einsum=1))
    assert check.state == NO_QUESTION
