"""A chain of compression as data: every setting of one trial of a search."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from leankeras.errors import ParameterError
from leankeras.modes import INT8_MODES, MODES
from leankeras.parameters import check_parameters


@dataclass(frozen=True)
class Candidate:
    """How a model is to be made smaller, from the removal of channels to the file.

    Args:
        shares: the share of the channels to remove, by the name of a layer of each group; groups
            that are not named keep all of theirs.
        round_to: what remains of a group is rounded up to a multiple of this.
        steps: removals, each followed by training; all of them together remove the shares.
        prune_epochs: passes over the training part after removal, in all steps together.
        distil_epochs: passes with the teacher, or with the labels alone; 0 leaves this out.
        temperature: the teacher's; None trains on the labels alone.
        alpha: weight of the labels beside the teacher.
        qat_epochs: passes of quantization-aware training; 0 quantizes after training.
        mode: the mode of the file, one of :data:`leankeras.modes.MODES`.
        keep_float: layers that an int8 file leaves in float.

    Raises:
        ParameterError: a setting is of the wrong type, out of range, or does not fit the mode.

    Example:
        >>> Candidate(shares={"conv": 0.5}, distil_epochs=20, temperature=4.0, qat_epochs=6)
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    round_to: int = 1
    steps: int = 1
    prune_epochs: int = 1
    distil_epochs: int = 0
    temperature: float | None = None
    alpha: float = 0.1
    qat_epochs: int = 0
    mode: str = "int8"
    keep_float: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.shares, Mapping):
            raise ParameterError(f"shares: saw {self.shares!r}; expected a share for each layer")
        for share in self.shares.values():
            check_parameters({"fraction": share})
        check_parameters({"alpha": self.alpha})
        if self.temperature is not None:
            check_parameters({"temperature": self.temperature})
        least = {"round_to": 1, "steps": 1, "prune_epochs": 1, "distil_epochs": 0, "qat_epochs": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise ParameterError(
                    f"{name}: saw {value!r}; expected an integer of at least {lowest}"
                )
        if self.mode not in MODES:
            raise ParameterError(f"mode: saw {self.mode!r}; expected one of {', '.join(MODES)}")
        names = self.keep_float
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise ParameterError(f"keep_float: saw {names!r}; expected a list of layer names")
        if (self.qat_epochs or names) and self.mode not in INT8_MODES:
            raise ParameterError(
                f"mode {self.mode!r} with qat_epochs or keep_float, which are for int8; expected "
                f"one of {', '.join(INT8_MODES)}"
            )
        object.__setattr__(self, "shares", {k: v for k, v in self.shares.items() if v})
        object.__setattr__(self, "keep_float", tuple(names))

    @property
    def architecture(self) -> str:
        """What decides size and latency, whatever the weights: equal for equal files."""
        settings = (self.shares, self.round_to, self.mode, self.keep_float)
        return json.dumps(settings, sort_keys=True)

    def to_json(self) -> str:
        """The settings as JSON text."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Candidate":
        """Read :meth:`to_json` back.

        Raises:
            ParameterError: not such a text.
        """
        try:
            values: Any = json.loads(text)
        except ValueError as error:
            raise ParameterError(f"not JSON ({error}); expected a chain of kopt search") from error
        known = {each.name for each in fields(cls)}
        if not isinstance(values, dict) or not values.keys() <= known:
            strange = sorted(values.keys() - known) if isinstance(values, dict) else [values]
            raise ParameterError(
                f"saw {strange[0]!r} in a chain; expected settings among {', '.join(sorted(known))}"
            )
        return cls(**values)

    @classmethod
    def read(cls, path: str | Path) -> "Candidate":
        """Read a file that holds :meth:`to_json`.

        Raises:
            ParameterError: the file cannot be read, or holds something else.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ParameterError(f"chain: {path} cannot be read ({error})") from error
        except ParameterError as error:
            raise ParameterError(f"chain: {path}: {error}") from error

    def __str__(self) -> str:
        """The chain in words, in the order of its steps."""
        shares = ", ".join(
            f"{100 * share:.0f} % of {layer}" for layer, share in self.shares.items()
        )
        steps = f" in {self.steps} steps" if self.steps > 1 else ""
        parts = [f"remove {shares}{steps}, {self.prune_epochs} epochs" if shares else ""]
        if self.distil_epochs:
            source = (
                "the labels alone"
                if self.temperature is None
                else f"a teacher (T {self.temperature:.3g}, alpha {self.alpha:.2g})"
            )
            parts.append(f"{self.distil_epochs} epochs with {source}")
        if self.qat_epochs:
            parts.append(f"{self.qat_epochs} epochs of quantization-aware training")
        kept = f", {', '.join(self.keep_float)} in float" if self.keep_float else ""
        return "; ".join([*filter(None, parts), f"{self.mode}{kept}"])
