"""The settings a search may choose, for one model: found by looking at it, sampled by Optuna."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from leankeras.channels import channel_sensitivity, plan_removal
from leankeras.conversion import convert
from leankeras.errors import KoptError, one_line
from leankeras.modes import INT8_MODES
from leankeras.quantization import quantization_error, train_quantized
from leankeras.runtime import compare_files, largest_share
from leankeras.searching.candidate import Candidate
from leankeras.searching.chain import CALIBRATION_SAMPLES, Materials
from leankeras.training import fit

SPACE_MODES = ("float32", "dynamic", "int8")  # floats at both ends
MOST_REMOVED = 0.9
MOST_GROUPS = 12  # that have a knob of their own, the widest ones
MOST_FLOAT = 3
SOME = 5_000  # samples, as the curves of the notebooks use
SHARES = (0.25, 0.5, 0.75)  # those that 03 tries
STEP = 0.05


@dataclass(frozen=True)
class Space:
    """What a search may choose for a model.

    Attributes:
        groups: for each group of channels that can be reduced, its first layer, its number of
            channels, and how sensitive it is, from 0 to 1; the most sensitive first.
        modes: of the file.
        epochs: what the case trains for, by "prune", "distil" and "qat".
        float_layers: layers an int8 file may leave in float, the one with the largest error first.
        aware: whether the model can be trained for int8.
        share: the share of all channels that the default chain removes.
        default: the default chain.
        notes: what is not searched, and why.
    """

    groups: tuple[tuple[str, int, float], ...]
    modes: tuple[str, ...]
    epochs: Mapping[str, int]
    float_layers: tuple[str, ...]
    aware: bool
    share: float
    default: Candidate
    notes: tuple[str, ...] = ()

    @property
    def own(self) -> list[str]:
        """The groups that have a knob of their own."""
        widest = set(sorted(self.groups, key=lambda group: -group[1])[:MOST_GROUPS])
        return [group[0] for group in self.groups if group in widest]

    def distributions(self) -> dict[str, BaseDistribution]:
        """The knobs; only those that can make a difference."""
        distil = self.epochs["distil"]
        knobs: dict[str, BaseDistribution] = {"mode": CategoricalDistribution(self.modes)}
        if self.groups:
            knobs["level"] = FloatDistribution(0, MOST_REMOVED)
            knobs["spare the sensitive"] = FloatDistribution(0, 1)
            knobs["round_to"] = CategoricalDistribution([1, 4, 8, 16])
            knobs["steps"] = IntDistribution(1, 3)
            knobs |= {
                f"more of {name}": FloatDistribution(-0.3, 0.3, step=STEP) for name in self.own
            }
        knobs["teacher"] = CategoricalDistribution([True, False])
        knobs["distil_epochs"] = IntDistribution(max(1, distil // 2), 2 * distil, log=True)
        knobs["temperature"] = FloatDistribution(1, 10, log=True)
        knobs["alpha"] = FloatDistribution(0, 0.9)
        if set(self.modes) & set(INT8_MODES):
            if self.aware:
                knobs["quantization-aware"] = CategoricalDistribution([True, False])
            if self.float_layers:
                most = min(MOST_FLOAT, len(self.float_layers))
                knobs["layers in float"] = IntDistribution(0, most)
        return knobs

    def candidate(self, knobs: Mapping[str, Any]) -> Candidate:
        """The chain that values of the knobs stand for."""
        level, spare = knobs.get("level", 0.0), knobs.get("spare the sensitive", 0.0)
        shares = {
            name: min(
                MOST_REMOVED,
                max(0.0, level * (1 - spare * sensitive) + knobs.get(f"more of {name}", 0.0)),
            )
            for name, _, sensitive in self.groups
        }
        int8 = knobs["mode"] in INT8_MODES
        aware = int8 and knobs.get("quantization-aware", False)
        return Candidate(
            shares={name: round(share, 4) for name, share in shares.items()},
            round_to=knobs.get("round_to", 1),
            steps=knobs.get("steps", 1) if any(shares.values()) else 1,
            prune_epochs=self.epochs["prune"],
            distil_epochs=knobs["distil_epochs"],
            temperature=round(knobs["temperature"], 3) if knobs["teacher"] else None,
            alpha=round(knobs["alpha"], 3),
            qat_epochs=self.epochs["qat"] if aware else 0,
            mode=knobs["mode"],
            keep_float=self.float_layers[: knobs.get("layers in float", 0)] if int8 else (),
        )

    def anchors(self) -> list[tuple[dict[str, Any], Candidate]]:
        """What is tried first: the default chain, and the model as it is, in int8 and in float.

        Returns:
            Knobs near each, for the sampler to learn from, and the chain itself.
        """
        modes = [mode for mode in ("int8", "float32") if mode in self.modes] or self.modes[:1]
        chains = [self.default, *(Candidate(mode=mode) for mode in modes)]
        return [(self._knobs_near(each), each) for each in chains]

    def _knobs_near(self, chain: Candidate) -> dict[str, Any]:
        level = sum(chain.shares.values()) / max(1, len(self.groups))
        near = {
            "mode": chain.mode, "level": min(level, MOST_REMOVED), "spare the sensitive": 0.0,
            "round_to": chain.round_to, "steps": chain.steps,
            "teacher": chain.temperature is not None,
            "distil_epochs": chain.distil_epochs or self.epochs["distil"],
            "temperature": chain.temperature or 4.0, "alpha": chain.alpha,
            "quantization-aware": bool(chain.qat_epochs), "layers in float": len(chain.keep_float),
        }  # fmt: skip
        for name in self.own:
            more = min(0.3, max(-0.3, chain.shares.get(name, 0.0) - level))
            near[f"more of {name}"] = round(STEP * round(more / STEP), 2)
        return {name: near[name] for name in self.distributions()}

    def to_json(self) -> str:
        """The space as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Space":
        """Read :meth:`to_json` back."""
        values = json.loads(text)
        lists = {name: tuple(values[name]) for name in ("modes", "float_layers", "notes")}
        groups = tuple(map(tuple, values["groups"]))
        default = Candidate(**values["default"])
        return cls(**{**values, **lists, "groups": groups, "default": default})


def find_space(
    materials: Materials, epochs: Mapping[str, int], modes: tuple[str, ...], budget: Any
) -> Space:
    """Find out what can be chosen for a model, and what the default chain would choose.

    Args:
        materials: what every trial starts from.
        epochs: what the case trains for, by "prune", "distil" and "qat".
        modes: the modes that are allowed.
        budget: limits the share of channels that the default chain removes, as 03 does.
    """
    model, data = materials.model, materials.data
    some, notes = data.at_most(SOME), []
    sensitive = channel_sensitivity(model, some)
    lost = sensitive.iloc[:, 3].clip(lower=0)
    worst = max(float(lost.max()), 1e-9) if len(sensitive) else 1.0
    groups = tuple(
        (row.layers.split(", ")[0], int(row.channels), float(lost[row.Index] / worst))
        for row in sensitive.itertuples()
    )
    if not groups:
        notes.append("no channel of this model can be removed, so none is; the rest is searched")
    share = _default_share(materials, epochs["prune"], budget) if groups else 0.0
    aware, float_layers = False, ()
    if set(modes) & set(INT8_MODES):
        try:
            train_quantized(model, some, epochs=0, verbose=0)
            aware = True
        except KoptError as error:
            notes.append(f"no quantization-aware training: {one_line(error)}")
        try:
            float_layers = _worst_in_int8(materials)
        except KoptError as error:
            notes.append(f"no layers in float: {one_line(error)}")
    removal = plan_removal(model, share)
    shares = {
        group.layers[0]: len(removal.removed.intersection(group.channels)) / len(group.removable)
        for group in removal.graph.groups
        if group.removable
    }
    default = Candidate(
        shares=shares,
        prune_epochs=epochs["prune"],
        distil_epochs=epochs["distil"],
        temperature=4.0,
        qat_epochs=epochs["qat"] if aware and "int8" in modes else 0,
        mode="int8" if "int8" in modes else modes[0],
    )
    return Space(
        groups, tuple(modes), dict(epochs), float_layers, aware, share, default, tuple(notes)
    )


def _default_share(materials: Materials, epochs: int, budget: Any) -> float:
    """The share that 03 would remove: the largest whose loss may be held within the budget."""
    model, some = materials.model, materials.data.at_most(SOME)
    with TemporaryDirectory() as folder:
        files = {0.0: convert(model, Path(folder) / "0.tflite", "float32").path}
        for share in SHARES:
            cut = plan_removal(model, share).apply()
            fit(cut, some, max(1, epochs // 3))
            files[share] = convert(cut, Path(folder) / f"{share}.tflite", "float32").path
        curve, _ = compare_files(files, some)
    return largest_share(curve, budget, some.task.score)


def _worst_in_int8(materials: Materials) -> tuple[str, ...]:
    calibration = materials.data.calibration(CALIBRATION_SAMPLES)
    with TemporaryDirectory() as folder:
        pair = [
            convert(materials.model, Path(folder) / f"{mode}.tflite", mode, calibration)
            for mode in ("float32", "int8")
        ]
        errors = quantization_error(*pair, materials.data.samples("val"))
    return tuple(layer for layer in errors.index if layer)[:MOST_FLOAT]
