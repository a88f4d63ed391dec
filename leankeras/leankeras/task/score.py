"""Scores: what of every sample one is made of, and what a difference between two is worth."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from leankeras.arrays import count_samples

RESAMPLES = 1000
CHUNK = 2**24  # weights of samples held at a time, 128 MB
SMALLEST = 1e-12  # what an error is divided by where it is 0


@dataclass(frozen=True)
class Merit:
    """A figure of merit: its name, and what a loss of it means.

    Args:
        name: a word for columns, such as ``"accuracy"``.
        title: the same for sentences and axes.
        is_error: lower is better; a loss is then the growth of the error, as a fraction of it.
            Otherwise the figure is a share from 0 to 1, and a loss is a difference.
    """

    name: str
    title: str
    is_error: bool = field(default=False, kw_only=True)

    @property
    def unit(self) -> str:
        """What a loss is given in: points of a share, per cent of an error."""
        return "%" if self.is_error else "points"

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """The columns of :func:`compare`: the value, what is lost, and the interval of that."""
        return self.name, f"{self.name}_lost", "lost_low", "lost_high"

    def lost(self, before: Any, after: Any) -> Any:
        """What is lost from one value to another, as a fraction; negative is a gain."""
        return after / np.maximum(before, SMALLEST) - 1 if self.is_error else before - after

    def shown(self, value: Any) -> Any:
        """A value or values as they are shown: a share in per cent, an error as it is."""
        return value if self.is_error else 100 * value

    @property
    def axis(self) -> str:
        """The name with the unit that :meth:`shown` gives values in."""
        return self.name if self.is_error else f"{self.name}, %"

    def in_words(self, value: float) -> str:
        """A value as text: ``accuracy 91.6 %`` for a share, ``MAE 0.532`` for an error."""
        number = f"{value:.3g}" if self.is_error else f"{100 * value:.1f} %"
        return f"{self.name} {number}"

    def gain_in_words(self, row: Mapping[str, float]) -> str:
        """A row of :func:`compare` as a gain, with its interval and what to make of it.

        Example:
            >>> task.score.gain_in_words(table.loc["int8"])
            '-0.4 points [-1.1, +0.3]: too close to call'
        """
        lost, low, high = (100 * float(row[name]) for name in self.columns[1:])
        verdict = "better" if high < 0 else "worse" if low > 0 else "too close to call"
        if self.is_error:
            return f"error {lost:+.1f} % [{low:+.1f}, {high:+.1f}]: {verdict}"
        return f"{0 - lost:+.1f} points [{0 - high:+.1f}, {0 - low:+.1f}]: {verdict}"


@dataclass(frozen=True)
class AnyScore(Merit, ABC):
    """How good the outputs for labelled samples are, in one number; arguments as of ``Merit``."""

    @abstractmethod
    def measure(self, outputs: Any, labels: Any) -> Any:
        """What the score takes from each sample, for :meth:`values`.

        Args:
            outputs: shape ``(n, ...)``; of several outputs arrays by name.
            labels: likewise.
        """

    @abstractmethod
    def values(self, measured: Any, weights: np.ndarray) -> np.ndarray:
        """The score for each weighting of the samples.

        Args:
            measured: as :meth:`measure` gives it.
            weights: how often each sample counts, shape ``(r, n)``.

        Returns:
            Shape ``(r,)``.
        """

    @property
    def merit(self) -> Merit:
        """Its name and meaning alone, to be kept in a record."""
        return Merit(self.name, self.title, is_error=self.is_error)


def _first(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


@dataclass(frozen=True)
class Score(AnyScore):
    """A score that is a function of means over the samples.

    Accuracy is the mean of the hits, IoU the mean overlap divided by the mean union.

    Args:
        name: see :class:`Merit`.
        title: likewise.
        parts: a function of outputs and labels, each ``(n, ...)``, that gives what the score takes
            from each sample, shape ``(n, k)`` or ``(n,)``.
        of_means: a function of the means of those, shape ``(..., k)``, that gives the score.
        is_error: whether lower is better.

    Example:
        >>> within = Score("within", "within 5 °C", lambda outputs, y: abs(outputs[:, 0] - y) < 5)
    """

    parts: Callable[[Any, Any], np.ndarray]
    of_means: Callable[[np.ndarray], np.ndarray] = _first

    def measure(self, outputs: Any, labels: Any) -> np.ndarray:
        """What the score takes from each sample, shape ``(n, k)``."""
        parts = np.asarray(self.parts(outputs, labels), dtype=np.float64)
        return parts.reshape(len(parts), -1)

    def values(self, measured: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The score for each weighting of the samples."""
        return self.of_means(weights @ measured / weights.sum(axis=1, keepdims=True))


class RankScore(Score):
    """The AUC: how often a sample labelled 1 gets a larger value than one labelled 0.

    ``parts`` gives the value and the label of each sample, shape ``(n, 2)``.
    """

    def values(self, measured: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The AUC for each weighting of the samples; ties count half."""
        _, group = np.unique(measured[:, 0], return_inverse=True)
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.diff(group[order], prepend=-1))
        labels = measured[order, 1]
        ones = np.add.reduceat(weights[:, order] * labels, starts, axis=1)
        zeros = np.add.reduceat(weights[:, order] * (1 - labels), starts, axis=1)
        below = np.cumsum(zeros, axis=1) - zeros / 2
        pairs = ones.sum(axis=1) * zeros.sum(axis=1)
        return (ones * below).sum(axis=1) / np.maximum(pairs, SMALLEST)


@dataclass(frozen=True)
class MeanScore(AnyScore):
    """The mean of the scores of several outputs, all of them shares.

    Args:
        name: see :class:`Merit`.
        title: likewise.
        scores: by output name.
    """

    scores: Mapping[str, AnyScore]

    def measure(self, outputs: Any, labels: Any) -> dict[str, Any]:
        """What each score takes from each sample, by output name."""
        return {
            name: score.measure(outputs[name], labels[name]) for name, score in self.scores.items()
        }

    def values(self, measured: Mapping[str, Any], weights: np.ndarray) -> np.ndarray:
        """The mean score for each weighting of the samples."""
        each = [score.values(measured[name], weights) for name, score in self.scores.items()]
        return np.mean(each, axis=0)


def compare(measured: Mapping[Any, Any], score: AnyScore, reference: Any = None) -> pd.DataFrame:
    """Score several artifacts on the same samples, and say what a difference is worth.

    The samples are resampled 1000 times, the same ones for every artifact (a paired bootstrap).
    Two models mostly agree on a sample, so the interval of their difference is far narrower than
    two separate error bars suggest. An interval that spans 0 is neither a loss nor a gain.

    Args:
        measured: name to what :meth:`AnyScore.measure` takes from the outputs for each sample.
        score: of a task.
        reference: a name in ``measured``; by default the first.

    Returns:
        Indexed by name, with the columns of the score: for accuracy ``accuracy``,
        ``accuracy_lost`` against the reference, and its 95 % interval ``lost_low`` and
        ``lost_high``.
    """
    base = next(iter(measured)) if reference is None else reference
    values = {name: value_of(each, score) for name, each in measured.items()}
    resampled: dict[Any, list[np.ndarray]] = {name: [] for name in measured}
    for weights in _resamples(count_samples(measured[base])):
        for name, each in measured.items():
            resampled[name].append(score.values(each, weights))
    spread = {name: np.concatenate(each) for name, each in resampled.items()}
    rows = {}
    for name, value in values.items():
        low, high = np.quantile(score.lost(spread[base], spread[name]), [0.025, 0.975])
        lost = float(score.lost(values[base], value))
        # of a few distinct values, the quantiles may leave the value itself out
        figures = (value, lost, min(float(low), lost), max(float(high), lost))
        rows[name] = dict(zip(score.columns, figures, strict=True))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("target")


def value_of(measured: Any, score: AnyScore) -> float:
    """The score of one artifact, without an interval, from what it takes from each sample."""
    return float(score.values(measured, np.ones((1, count_samples(measured))))[0])


def standard_error(measured: Any, score: AnyScore) -> float:
    """The standard deviation of a score over resampled samples."""
    resampled = [score.values(measured, each) for each in _resamples(count_samples(measured))]
    return float(np.concatenate(resampled).std())


def _resamples(count: int) -> Iterator[np.ndarray]:
    """How often each sample counts in each resample, some resamples at a time: always the same."""
    random = np.random.default_rng(0)
    rows = max(1, min(RESAMPLES, CHUNK // count))
    for start in range(0, RESAMPLES, rows):
        drawn = random.integers(0, count, (min(rows, RESAMPLES - start), count))
        yield np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.float64)
