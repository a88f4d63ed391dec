"""What a deployed model may cost."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from leankeras.errors import ParameterError

if TYPE_CHECKING:
    from leankeras.task import Merit

LIMIT = re.compile(r"(\d+\.?\d*|\.\d+)\s*(us|µs|ms|kB|MB|points?|%)")
UNITS = {
    "us": ("latency_us", 1.0),
    "µs": ("latency_us", 1.0),
    "ms": ("latency_us", 1e3),
    "kB": ("size_kb", 1.0),
    "MB": ("size_kb", 1e3),
    "point": ("accuracy_loss", 0.01),
    "points": ("accuracy_loss", 0.01),
    "%": ("error_growth", 0.01),
}
EXPECTED = 'limits such as "2 ms, 50 kB, 0.5 points" (or "3 %" of an error)'
LEAST = {"latency_us": 0, "size_kb": 0, "accuracy_loss": -1, "error_growth": -1}


@dataclass(frozen=True)
class Budget:
    """What the deployed model may cost; None sets no limit.

    Args:
        latency_us: median latency of one inference in LiteRT on one thread, microseconds.
        size_kb: size of the file, kilobytes of 1000 bytes.
        accuracy_loss: how much of the score may be lost relative to the slow model, where the
            score is a share such as accuracy; a fraction (0.01 is one point).
        error_growth: how much the error may grow, where the score is an error; a fraction of it.

    Raises:
        ParameterError: a limit is not a number, or is out of range.
    """

    latency_us: float | None = None
    size_kb: float | None = None
    accuracy_loss: float | None = None
    error_growth: float | None = None

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            limit = getattr(self, name)
            if limit is not None and not (isinstance(limit, int | float) and least < limit < inf):
                raise ParameterError(
                    f"budget: {name} is {limit!r}; expected a number above {least}, or None"
                )

    def __str__(self) -> str:
        points = None if self.accuracy_loss is None else 100 * self.accuracy_loss
        percent = None if self.error_growth is None else 100 * self.error_growth
        limits = {
            "{:g} µs": self.latency_us,
            "{:g} kB": self.size_kb,
            f"{{:g}} point{'s' * (points != 1)} of the score": points,
            "{:g} % of the error": percent,
        }
        said = [form.format(limit) for form, limit in limits.items() if limit is not None]
        return ", ".join(said) or "no limit"

    def may_lose(self, merit: "Merit") -> float | None:
        """How much of a figure of merit may be lost, a fraction; None where there is no limit.

        Raises:
            ParameterError: the limit is in points and the figure an error, or the other way round.
        """
        limits = [self.accuracy_loss, self.error_growth]
        wrong, expected = limits[not merit.is_error], limits[merit.is_error]
        if wrong is not None:
            example = "3 %" if merit.is_error else "0.5 points"
            raise ParameterError(
                f"budget: saw {self}; the {merit.title} is "
                f"{'an error' if merit.is_error else 'a share'}, so give its loss as in {example!r}"
            )
        return expected

    def verdicts(self, measured: Mapping[str, float], merit: "Merit") -> dict[str, str]:
        """Whether a file meets each limit there is.

        Args:
            measured: a row of :func:`leankeras.runtime.compare_files`: ``us_low``, ``us_high``,
                ``size_kb``, and ``lost_low`` and ``lost_high`` of the figure of merit.
            merit: the figure of merit.

        Returns:
            "met", "missed", or "cannot tell" if the interval contains the limit, for "latency",
            "size" and the name of the figure of merit.

        Raises:
            ParameterError: as :meth:`may_lose`.

        Example:
            >>> Budget.parse("2 ms, 1 point").verdicts(table.loc["int8"], score)
            {'latency': 'met', 'accuracy': 'cannot tell'}
        """
        limits = {
            "latency": (self.latency_us, measured["us_low"], measured["us_high"]),
            "size": (self.size_kb, measured["size_kb"], measured["size_kb"]),
            merit.name: (self.may_lose(merit), measured["lost_low"], measured["lost_high"]),
        }
        return {
            name: "met" if high <= limit else "missed" if low > limit else "cannot tell"
            for name, (limit, low, high) in limits.items()
            if limit is not None
        }

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Parse limits as a person writes them: in µs (us) or ms, kB or MB, and points
        of a share (such as accuracy) or % of an error.

        Raises:
            ParameterError: the text is anything else, or has two limits of one kind.

        Example:
            >>> Budget.parse("2 ms, 0.5 points")
            Budget(latency_us=2000.0, size_kb=None, accuracy_loss=0.005, error_growth=None)
        """
        limits: dict[str, float] = {}
        for part in text.split(","):
            found = LIMIT.fullmatch(part.strip())
            if not found or UNITS[found[2]][0] in limits:
                raise ParameterError(f"budget: saw {text!r}; expected {EXPECTED}")
            name, scale = UNITS[found[2]]
            limits[name] = float(found[1]) * scale
        return cls(**limits)
