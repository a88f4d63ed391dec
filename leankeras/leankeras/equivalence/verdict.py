"""The answer: the verdict, its basis, and what was not compared."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape

import pandas as pd

from leankeras.equivalence.tolerance import Distance

EQUIVALENT, DIFFERENT, UNKNOWN = "equivalent", "not equivalent", "cannot tell"


@dataclass(frozen=True)
class Row:
    """One comparison: the probe, the thing compared, and how far apart the two were."""

    probe: str
    compared: str
    distance: Distance


@dataclass(frozen=True, eq=False, repr=False)
class Equivalence:
    """The answer of :func:`check_equivalence`.

    Args:
        verdict: "equivalent", "not equivalent", or "cannot tell" if the probes do not show
            enough to decide.
        max_abs_diff: largest absolute difference of their outputs over all probes; inf if the
            outputs have different shapes.
        reason: one line: what agreed, on which probe and where they first differed, or what is
            missing.
        probes: a row for each comparison: ``probe`` (kind of input), ``compared`` (output,
            gradient), ``equal``, ``max_abs_diff``, ``tolerance`` (at the worst place), ``where``
            (index of the worst place, batch first).
        blind_to: names of the reference's weights and inputs that could be anything: no output on
            any probe depends on them.
        not_compared: descriptions of what the verdict does not cover.
    """

    verdict: str
    max_abs_diff: float
    reason: str
    probes: pd.DataFrame
    blind_to: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()

    @property
    def equivalent(self) -> bool:
        """Whether candidate and reference agreed on every probe, and the probes show enough."""
        return self.verdict == EQUIVALENT

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.reason}"]
        lines += [f"not compared: {what}" for what in self.not_compared]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"{self}\n{self.probes.to_string(index=False)}" if len(self.probes) else str(self)

    def _repr_html_(self) -> str:
        said = f"<p><b>{self.verdict.capitalize()}</b>: {escape(self.reason)}</p>"
        left_out = "".join(f"<li>{escape(what)}</li>" for what in self.not_compared)
        left_out = f"<p>Not compared:</p><ul>{left_out}</ul>" if left_out else ""
        table = self.probes.to_html(index=False, border=0, float_format="{:.2e}".format)
        return said + left_out + table


def conclude(
    rows: list[Row],
    doubtful: set[str],
    blind_to: Sequence[str],
    not_compared: Sequence[str],
) -> Equivalence:
    """The verdict on some comparisons.

    Args:
        rows: the comparisons.
        doubtful: names of probes on which a difference proves nothing.
        blind_to: names of weights and inputs that no output depended on.
        not_compared: descriptions of what was left out.
    """
    probes = pd.DataFrame(
        [{"probe": r.probe, "compared": r.compared, **asdict(r.distance)} for r in rows]
    )
    outputs = probes[probes.compared.str.startswith("output")]
    largest = float(outputs.max_abs_diff.max())
    failed = probes[~probes.equal]
    proven = failed[~failed.probe.isin(doubtful)]
    names = ", ".join(f"`{name}`" for name in blind_to)
    if not proven.empty:
        verdict, reason = DIFFERENT, f"{_difference(proven)}; {_share(failed, probes)}"
    elif not failed.empty:
        verdict = UNKNOWN
        reason = f"{_difference(failed)}; if such inputs cannot occur, give your own samples"
    elif blind_to:
        verdict, reason = UNKNOWN, f"no output depended on {names}; give samples"
        if "samples" in set(probes.probe):
            reason = f"no output depended on {names}, not even on the samples; give others"
    else:
        gradient = " and gradients" if len(outputs) < len(probes) else ""
        count = probes.probe.nunique()
        kinds = f"{count} kinds" if count > 1 else "1 kind"
        verdict, reason = EQUIVALENT, f"outputs{gradient} agree on {kinds} of input"
    return Equivalence(verdict, largest, reason, probes, tuple(blind_to), tuple(not_compared))


def _difference(failed: pd.DataFrame) -> str:
    first = failed.iloc[0]
    place = f" at index {first['where']}" if first["where"] else ""
    return (
        f"on probe '{first.probe}' the {first.compared} is off by {first.max_abs_diff:.3g}{place}, "
        f"tolerance {first.tolerance:.1g}"
    )


def _share(failed: pd.DataFrame, probes: pd.DataFrame) -> str:
    return f"{len(failed)} of {len(probes)} comparisons differ"
