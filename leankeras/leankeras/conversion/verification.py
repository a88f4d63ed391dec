"""Check that the outputs of a .tflite match the model's as closely as its mode allows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from leankeras.conversion.difference import PROBABILITIES, Difference, Part, measure
from leankeras.conversion.score import Score
from leankeras.errors import ConversionError
from leankeras.modes import INT8_MODES


@dataclass(frozen=True)
class Limits:
    """The differences that a mode may cause.

    Attributes:
        warned: a relative difference of an output above this leads to a warning.
        refused: above this, the file is refused.
        channel_warned: the limit of a warning for a single channel.
        channel_refused: the limit of a refusal for a single channel.
    """

    warned: float
    refused: float
    channel_warned: float
    channel_refused: float


# Reasons and measurements: docs/formats.md.
EIGHT_BITS = Limits(0.15, 0.8, 0.4, 2.0)
LIMITS = {
    "float32": Limits(2e-4, 1e-2, 2e-3, 1e-1),
    "float16": Limits(0.03, 0.3, 0.3, 1.0),
    "dynamic": EIGHT_BITS,
    **dict.fromkeys(INT8_MODES, EIGHT_BITS),
    "int16x8": Limits(0.05, 0.5, 0.3, 2.0),
}
MINOR = 0.05  # of its part: a smaller channel alone is not a reason to refuse a file
FLIPPED = 0.02  # of the samples
LOST_WARNED, LOST_REFUSED = 0.01, 0.1  # of the score


@dataclass(frozen=True)
class Verdict:
    """The result of comparing a file's outputs with the model's.

    Attributes:
        finding: a description of what is wrong; None if nothing is.
        refused: whether the file is too wrong to be delivered.
        part: the part of the outputs in which it shows; None if in no single part.
        difference: the difference of the part of the outputs that is furthest off, relative to
            its size.
        channel_difference: the same for the channel that is furthest off.
        max_abs_diff: the largest difference of any output.
        samples: the number of samples compared.
        worst: the number of the sample that is furthest off.
        score: the scores of the model and the file, if there are labels.
    """

    finding: str | None
    refused: bool
    part: Part | None
    difference: float
    channel_difference: float
    max_abs_diff: float
    samples: int
    worst: int
    score: Score | None = None


def judge(
    parts: list[Part],
    reference: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    mode: str,
    score: Score | None = None,
) -> Verdict:
    """Compare a file's outputs with the model's.

    Args:
        parts: the parts of the file's outputs.
        reference: the model's outputs by name, ``(n, ...)``.
        outputs: the file's outputs.
        mode: the mode of the file, which determines how far it may be off.
        score: the scores of model and file on labelled samples.

    Raises:
        ConversionError: the shapes differ, or the model's own outputs hold NaN or Inf.
    """
    for name, expected in reference.items():
        _check_comparable(name, expected, outputs[name])
    samples = len(next(iter(reference.values())))
    for name, values in outputs.items():
        bad = ~np.isfinite(values).reshape(samples, -1).all(axis=1)
        if bad.any():
            finding = f"{_output(name)} holds NaN or Inf where the model's does not"
            worst = int(bad.argmax())
            return Verdict(finding, True, None, np.inf, np.inf, np.inf, samples, worst)
    differences = measure(parts, reference, outputs)
    found = list(_findings(differences, LIMITS[mode], score))
    refusals = [each for each in found if each[0]]
    refused, finding, part = (refusals or found or [(False, None, None)])[0]
    return Verdict(
        finding=finding,
        refused=refused,
        part=part,
        difference=max(each.relative for each in differences),
        channel_difference=max(float(each.channels.max()) for each in differences),
        max_abs_diff=max(_largest(outputs[name], reference[name]) for name in reference),
        samples=samples,
        worst=max(differences, key=lambda each: each.outlier).outlier_at,
        score=score,
    )


def percent(relative: float) -> str:
    """A relative difference in readable form."""
    if relative >= 10:
        return f"{relative:,.0f} times its size"
    return f"{100 * relative:.0f} %" if relative >= 0.1 else f"{100 * relative:.2g} %"


def listed(words: list[str]) -> str:
    """``"a, b and c"``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _findings(
    differences: list[Difference], limits: Limits, score: Score | None
) -> Iterator[tuple[bool, str, Part | None]]:
    """Yield each finding: whether the file must be refused, the description, and the part."""
    if score and score.lost > LOST_WARNED:
        yield score.lost > LOST_REFUSED, str(score), None
    for each in differences:
        if each.relative > limits.warned:
            refused = each.relative > limits.refused
            verb = "are" if _name(each.part).startswith("channels") else "is"
            yield refused, f"{_name(each.part)} {verb} {percent(each.relative)} off", each.part
    for each in differences:
        if each.lost.any():
            what = _name(each.part) if each.lost.all() else _channels(each, each.lost)
            verb = "are" if what.startswith("channels") else "is"
            refused = bool(each.lost.all() or (each.lost & (each.sizes > MINOR)).any())
            yield refused, f"{what} {verb} the same for every sample, unlike the model's", each.part
        major = each.channels * np.minimum(each.sizes / MINOR, 1)
        if (each.channels > limits.channel_warned).any():
            what = f"channel {each.channel} of {_output(each.part.output)}"
            refused = bool((major > limits.channel_refused).any())
            yield refused, f"{what} is {percent(each.channels.max())} off", each.part
        if (each.blurred > 1).any() and not each.lost.any():
            what = _channels(each, each.blurred > 1)
            verb, pronoun = ("are", "they vary") if "channels" in what else ("is", "it varies")
            text = f"{what} {verb} off by more than {pronoun} from sample to sample"
            yield False, text, each.part
        if each.outlier > 1 and each.part.kind not in PROBABILITIES:
            text = f"{_name(each.part)} is {percent(each.outlier)} off on one of the samples"
            yield False, text, each.part
        if _share_above(each.flipped, each.sure) > FLIPPED:
            text = f"{each.flipped} of the {each.sure} clear cases get a different class"
            yield False, text, each.part


def _share_above(hits: int, count: int) -> float:
    """The certain part of a share: the lower bound of the 95 % interval (Wilson 1927)."""
    if not hits:
        return 0.0
    z, share = 1.645, hits / count
    middle = share + z**2 / (2 * count)
    margin = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return float((middle - margin) / (1 + z**2 / count))


def _output(name: str) -> str:
    return "the output" if name == "output" else f"output {name}"


def _name(part: Part) -> str:
    if part.alone:
        return _output(part.output)
    first, last = part.channels.start, part.channels.stop - 1
    which = f"channel {first}" if first == last else f"channels {first} to {last}"
    return f"{which} of {_output(part.output)}"


def _channels(difference: Difference, chosen: np.ndarray) -> str:
    part = difference.part
    if len(chosen) == 1:
        return _name(part)
    numbers = [str(part.channels.start + int(k)) for k in np.flatnonzero(chosen)]
    few = ", ".join(numbers[:5]) + (", ..." if len(numbers) > 5 else "")
    return f"channel{'s' * (len(numbers) > 1)} {few} of {_output(part.output)}"


def _check_comparable(name: str, expected: np.ndarray, values: np.ndarray) -> None:
    if not np.isfinite(expected).all():
        raise ConversionError(
            f"output {name} of the model itself holds NaN or Inf on the samples; correct the "
            "model, or give calibration samples that it is meant for"
        )
    if values.shape != expected.shape:
        raise ConversionError(
            f"output {name} has shape {values.shape} in the file and {expected.shape} in the "
            "model; the model's output shape depends on its values"
        )


def _largest(values: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(values.astype("float64") - expected.astype("float64")).max(initial=0))
