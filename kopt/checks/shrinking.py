"""Exercises on smaller models: what a removal leaves and what a teacher's answer says."""

from typing import Any

import numpy as np

from kopt.checks.check import (
    Check,
    as_numbers,
    check_number,
    no_question,
    not_answered,
    not_yet,
    right,
)
from leankeras.kernels import Kernel


def kept_parameters(answer: Any, kernel: Kernel) -> Check:
    """How many parameters a layer keeps when half its inputs and half its outputs are removed.

    Args:
        answer: weights and biases together.
        kernel: the layer's kernel before; odd numbers of channels are halved and rounded down.

    Example:
        >>> kept_parameters(2592, Kernel("conv", window=5, inputs=32, outputs=64, has_bias=True))
        right: 2,592 of 10,304, 25 %: half as many inputs for each of half as many outputs
    """
    if not kernel.outputs:
        return no_question("the model has no dense or convolutional layer")
    window, inputs, outputs, bias = kernel.window, kernel.inputs, kernel.outputs, kernel.has_bias
    total = window * inputs * outputs + bias * outputs
    weights = window * (inputs // 2) * (outputs // 2)
    expected = weights + bias * (outputs // 2)
    one_side = window * inputs * (outputs // 2)
    return check_number(
        answer,
        expected,
        task="the number of parameters that stay, a whole number",
        because=f"{expected:,} of {total:,}, {expected / total:.0%}: half as many inputs for each "
        "of half as many outputs",
        hint="a kernel has window × inputs × outputs weights; a bias belongs to an output",
        mistakes=(
            (weights, "and the biases? each remaining output keeps one"),
            (weights + outputs, "a bias goes with its output"),
            (one_side, "that halves one side only; the inputs are halved too"),
            (one_side + bias * (outputs // 2), "half of everything? the inputs are halved too"),
            (one_side + bias * outputs, "that halves the inputs only; the outputs are halved too"),
            (total / 4, "the kernel shrinks on both sides, the biases only with the outputs"),
            (total - expected, "that is what is removed; the question is what stays"),
        ),
        tolerance=1e-9,
    )


def soft_targets(answer: Any, logits: np.ndarray | None, temperature: float) -> Check:
    """The probabilities that a teacher's logits stand for at a given temperature.

    The softmax of ``logits / temperature`` (Hinton, Vinyals and Dean, arXiv:1503.02531, eq. 1).

    Args:
        answer: the probabilities, shape ``(classes,)``.
        logits: the teacher's answer to one sample, shape ``(classes,)``; None if the task has no
            classes.
        temperature: above 0.

    Example:
        >>> soft_targets([0.5, 0.5], np.array([1.0, 1.0]), temperature=4)
        right: the likeliest class has 50%, compared with 50% at temperature 1
    """
    if logits is None:
        return no_question("the task has no classes, so no temperature softens them")
    if answer is ...:
        return not_answered("replace the dots with an array of probabilities, one per class")
    given = as_numbers(answer, logits.shape)
    if given is None:
        return not_yet(f"expected {len(logits)} finite numbers, one per class")
    plain, expected = _softmax(logits), _softmax(logits / temperature)
    if np.allclose(given, expected, rtol=1e-3, atol=1e-5):
        return right(
            f"the likeliest class has {expected.max():.0%}, compared with {plain.max():.0%} at "
            "temperature 1"
        )
    mistakes = (
        (np.eye(len(logits))[logits.argmax()], "a hard label; what about the other classes?"),
        (plain, "that is temperature 1; where does the temperature come in?"),
        (_softmax(logits * temperature), "that makes the answer harder; temperature softens it"),
        (plain / temperature, "the temperature divides the logits, before the exponential"),
        (np.exp(logits / temperature), "these do not add up to 1 yet"),
        (logits / temperature, "those are still logits; probabilities are above 0 and sum to 1"),
    )
    for wrong, text in mistakes:
        if np.allclose(given, wrong, rtol=1e-3, atol=1e-5):
            return not_yet(text)
    if not np.isclose(given.sum(), 1, atol=1e-3):
        return not_yet(f"probabilities add up to 1; these add up to {given.sum():.3g}")
    return not_yet("divide the logits by the temperature, then take the softmax")


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(np.asarray(logits, dtype=float) - np.max(logits))
    return weights / weights.sum()
