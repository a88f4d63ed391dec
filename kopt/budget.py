"""What a deployed model may cost."""

import re
from dataclasses import dataclass
from math import inf

from leankeras.errors import ParameterError

LIMIT = re.compile(r"(\d+\.?\d*|\.\d+)\s*(us|µs|ms|kB|MB|points?)")
UNITS = {
    "us": ("latency_us", 1.0),
    "µs": ("latency_us", 1.0),
    "ms": ("latency_us", 1e3),
    "kB": ("size_kb", 1.0),
    "MB": ("size_kb", 1e3),
    "point": ("accuracy_loss", 0.01),
    "points": ("accuracy_loss", 0.01),
}
EXPECTED = 'limits such as "2 ms, 50 kB, 0.5 points"'


@dataclass(frozen=True)
class Budget:
    """What the deployed model may cost; None sets no limit.

    Args:
        latency_us: median latency of one inference in LiteRT on one thread, microseconds.
        size_kb: size of the file, kilobytes of 1000 bytes.
        accuracy_loss: accuracy that may be lost relative to the slow model, as a fraction (0.01
            is one point).

    Raises:
        ParameterError: a limit is not a number, or is out of range.
    """

    latency_us: float | None = None
    size_kb: float | None = None
    accuracy_loss: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("latency_us", 0), ("size_kb", 0), ("accuracy_loss", -1)):
            limit = getattr(self, name)
            if limit is not None and not (isinstance(limit, int | float) and least < limit < inf):
                raise ParameterError(
                    f"budget: {name} is {limit!r}; expected a number above {least}, or None"
                )

    def __str__(self) -> str:
        points = None if self.accuracy_loss is None else 100 * self.accuracy_loss
        limits = {
            "{:g} µs": self.latency_us,
            "{:g} kB": self.size_kb,
            f"{{:g}} point{'s' * (points != 1)} of accuracy": points,
        }
        said = [form.format(limit) for form, limit in limits.items() if limit is not None]
        return ", ".join(said) or "no limit"

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Parse limits as a person writes them: in µs (us) or ms, kB or MB, and points.

        Raises:
            ParameterError: the text is anything else, or has two limits of one kind.

        Example:
            >>> Budget.parse("2 ms, 0.5 points")
            Budget(latency_us=2000.0, size_kb=None, accuracy_loss=0.005)
        """
        limits: dict[str, float] = {}
        for part in text.split(","):
            found = LIMIT.fullmatch(part.strip())
            if not found or UNITS[found[2]][0] in limits:
                raise ParameterError(f"budget: saw {text!r}; expected {EXPECTED}")
            name, scale = UNITS[found[2]]
            limits[name] = float(found[1]) * scale
        return cls(**limits)
