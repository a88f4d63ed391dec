"""What a stage measured, kept as a JSON file that any tool can read."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from leankeras.budget import Budget
from leankeras.task import Merit

# The environment variable that tells a kernel what its predecessor crashed with.
RESTARTED_AFTER = "KOPT_RESTARTED_AFTER"

STAGES = (
    *("01_profile", "02_rewrite", "03_prune", "04_distil", "05_qat", "06_tflite"),
    *("07_deploy", "08_serve"),
)

LATENCY = ("us", "us_low", "us_high", "p95_us", "ratio", "ratio_low", "ratio_high")

# Everything in a record that depends on a clock, apart from names that end in ``_us``.
TIMED = {
    *("latency", "conditions", "seconds", "verdict", "agree", "tf_function", "predict"),
    *("us_low", "us_high", "ratio", "ratio_low", "ratio_high"),
    *("us", "share", "share_by_swap"),
}


def predecessor(stage: str) -> str | None:
    """The stage that a stage continues from; None for the first."""
    position = STAGES.index(stage)
    return STAGES[position - 1] if position else None


@dataclass(frozen=True)
class Record:
    """The outcome of one stage.

    Attributes:
        stage: such as "03_prune".
        case: the case's name.
        parameters: the notebook's parameters, as given.
        epochs: passes over the training data; 0 if the stage does not train.
        task: what the outputs mean, in words.
        merit: the score that they are judged by.
        test: the score of the deployed file on the test part, by its name, what is lost of it
            (such as ``accuracy`` and ``accuracy_lost``) relative to
            the slow model with its 95 % interval ``lost_low`` and ``lost_high``; fractions,
            negative for a gain.
        validation: the same on the validation part, which the stage's choices are based on.
        size_bytes: size of the deployed file.
        gzip_bytes: its compressed size.
        latency: ``us`` with its interval ``us_low`` and ``us_high``, ``p95_us``
            (microseconds, LiteRT, batch 1), and ``ratio``, ``ratio_low``, ``ratio_high``
            relative to the slow model in the same runtime.
        budget: the limits to be met.
        conditions: the conditions under which the latency was measured.
        tables: other measurements of the stage, as lists of rows.
        inputs: by stage, the digests of its files when this one read them.
        outputs: the digest of each file in ``models/``, by name.
        environment: versions and the machine; also ``restarted_after``, the signal, if the kernel
            crashed and the stage was run again with TensorFlow's oneDNN off.
        seconds: how long the stage took.
        case_files: the digests of the user's files that define the case, by path.
        remark: what the case says of the file's outputs for the test part.
        answer: what to do with the file, in a sentence.
    """

    stage: str
    case: str
    parameters: dict[str, Any]
    epochs: int
    task: str
    merit: Merit
    test: dict[str, float]
    validation: dict[str, float]
    size_bytes: int
    gzip_bytes: int
    latency: dict[str, float]
    budget: Budget
    conditions: str
    inputs: dict[str, dict[str, str]]
    outputs: dict[str, str]
    environment: dict[str, Any]
    seconds: float
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict, repr=False)
    case_files: dict[str, str] = field(default_factory=dict)
    remark: str = ""
    answer: str = ""

    def __post_init__(self) -> None:
        """Refuse values that no stage writes, so that a damaged file is not read as a result."""
        numbers = [self.size_bytes, self.gzip_bytes]
        numbers += [
            part[name] for part in (self.test, self.validation) for name in self.merit.columns
        ]
        times = [self.latency[name] for name in LATENCY]
        if not all(isinstance(number, int | float) for number in numbers + times):
            raise ValueError("score, size and latency are not all numbers")
        if min(times) <= 0:
            raise ValueError("a latency is not above 0")
        if not isinstance(self.parameters["quick"], bool):
            raise ValueError("quick is neither true nor false")
        if self.stage not in STAGES or any(before >= self.stage for before in self.inputs):
            raise ValueError(f"{self.stage} is not a stage, or was made from a later one")

    @property
    def crash(self) -> str | None:
        """What happened, in words, if the kernel crashed and the stage was run again."""
        signal = self.environment.get("restarted_after")
        return f"{self.stage} crashed ({signal}) and ran again without oneDNN" if signal else None

    @property
    def within_budget(self) -> dict[str, str]:
        """Whether the file meets each limit of its budget; the score is on the test part."""
        measured = {**self.latency, **self.test, "size_kb": self.size_bytes / 1000}
        return self.budget.verdicts(measured, self.merit)

    def table(self, name: str) -> pd.DataFrame:
        """One of the stage's tables as a frame."""
        return pd.DataFrame(self.tables[name])

    def repeatable(self) -> str:
        """What a run with the same seed reproduces, as JSON: everything but timings."""
        return json.dumps(_without_times(asdict(self)), indent=1, sort_keys=True)

    def to_json(self) -> str:
        """The record as JSON text."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Read a record back."""
        values = json.loads(text)
        merit = Merit(**values["merit"])
        return cls(**{**values, "merit": merit, "budget": Budget(**values["budget"])})


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        timed = {name for name in value if name in TIMED or name.endswith("_us")}
        return {name: _without_times(value[name]) for name in value.keys() - timed}
    if isinstance(value, list):  # of rows, which may have been sorted by time
        return sorted(map(_without_times, value), key=lambda row: json.dumps(row, sort_keys=True))
    return value


def summary(records: list[Record]) -> pd.DataFrame:
    """The chain at a glance, one row per stage.

    Columns: the score on the test part by its name, such as ``accuracy`` (a share in per cent);
    ``lost`` relative to the slow model, in points (of an error in per cent), with its 95 % interval
    ``lost_low`` and ``lost_high``; ``size_kb`` and ``gzip_kb`` (1000 bytes); ``latency_us``;
    ``speedup`` over the slow model in LiteRT with its interval; ``budget``.
    """
    merit = records[0].merit
    value, *loss = merit.columns
    lost = {name: [100 * record.test[name] for record in records] for name in loss}
    return pd.DataFrame(
        {
            value: [merit.shown(record.test[value]) for record in records],
            "lost": lost[loss[0]],
            "lost_low": lost["lost_low"],
            "lost_high": lost["lost_high"],
            "size_kb": [record.size_bytes / 1000 for record in records],
            "gzip_kb": [record.gzip_bytes / 1000 for record in records],
            "latency_us": [record.latency["us"] for record in records],
            "speedup": [1 / record.latency["ratio"] for record in records],
            "speedup_low": [1 / record.latency["ratio_high"] for record in records],
            "speedup_high": [1 / record.latency["ratio_low"] for record in records],
            "budget": [_in_words(record.within_budget) for record in records],
        },
        index=pd.Index([record.stage for record in records], name="stage"),
    )


def table_in_words(records: list[Record]) -> pd.DataFrame:
    """The chain at a glance for people: the columns of :func:`summary` with their units."""
    chain, merit = summary(records), records[0].merit
    lost = zip(chain.lost, chain.lost_low, chain.lost_high, strict=True)
    times = zip(chain.speedup, chain.speedup_low, chain.speedup_high, strict=True)
    return pd.DataFrame(
        {
            merit.axis: chain[merit.name].map(("{:.3g}" if merit.is_error else "{:.1f}").format),
            f"{merit.unit} lost": [
                f"{each:.1f} [{low:.1f}, {high:.1f}]" for each, low, high in lost
            ],
            "kB": chain.size_kb.map("{:.1f}".format),
            "gzip kB": chain.gzip_kb.map("{:.1f}".format),
            "µs": chain.latency_us.map("{:.3g}".format),
            "times faster": [f"{ratio:.3g} [{low:.3g}, {high:.3g}]" for ratio, low, high in times],
            "budget": chain.budget,
        }
    )


def _in_words(states: dict[str, str]) -> str:
    if not states:
        return "none set"
    open_points = [f"{name} {state}" for name, state in states.items() if state != "met"]
    return ", ".join(open_points) or "met"


def verdict(records: list[Record]) -> str:
    """The chain's outcome in a sentence: what the last stage reached and whether it is enough."""
    last = records[-1]
    ratio, low, high = (last.latency[name] for name in ("ratio", "ratio_low", "ratio_high"))
    value = last.merit.in_words(last.test[last.merit.name])
    remark = f", {last.remark}" if last.remark else ""
    return (
        f"After {last.stage}: {1 / ratio:.3g}× [{1 / high:.3g}, {1 / low:.3g}] the speed of the "
        f"slow model in the same runtime, {last.latency['us']:.3g} µs, "
        f"{last.size_bytes / 1000:.3g} kB, {value} on the test part "
        f"({last.merit.gain_in_words(last.test)}){remark}; budget: {_in_words(last.within_budget)}."
        f" {last.answer}"
    ).rstrip()
