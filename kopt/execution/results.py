"""The table of a sweep: one row per point, as a file for people and one for programs."""

from pathlib import Path

import pandas as pd

from kopt.errors import WorkspaceError
from kopt.execution.grid import Points
from kopt.parameters import PARAMETERS
from kopt.workspace.record import Record, summary
from leankeras.files import write_atomically

COLUMN_TYPES = {int: "Int64", float: "Float64", str: "string", bool: "boolean"}
SPEEDUP = ["speedup", "speedup_low", "speedup_high"]
MEASURES = ["lost", "size_kb", "gzip_kb", "latency_us", "latency_low", "latency_high", *SPEEDUP]


def results_table(points: Points, outcomes: dict[str, Record | Exception]) -> pd.DataFrame:
    """One row per point, in their order.

    Args:
        points: the points of the sweep.
        outcomes: each point's last record, or the error it failed with, by the point's name.

    Returns:
        Indexed by ``point``: the parameters; ``status``, "finished" or "failed"; ``score``, the
        name of what the task is judged by, and a column of that name, such as ``accuracy`` (a
        share in per cent); ``lost`` of it, in points (of an error in per cent); ``size_kb`` and
        ``gzip_kb`` (1000 bytes); ``latency_us`` with its 95 % interval ``latency_low`` and
        ``latency_high``; ``speedup`` over the slow model with its interval; ``within_budget``,
        ``conditions`` and ``error`` in words.
    """
    parameters = pd.DataFrame([point.parameters for point in points])
    table = parameters.astype({name: COLUMN_TYPES[PARAMETERS[name].type] for name in parameters})
    measures = pd.DataFrame([_measures(outcomes[point.name]) for point in points])
    table.index = pd.Index([point.name for point in points], name="point")
    measures.index = table.index
    return table.join(measures)


def in_words(table: pd.DataFrame) -> str:
    """The table for a terminal: what was measured, then what failed and why."""
    finished = table[table.status == "finished"]
    scores = finished.score.unique().tolist() if len(finished) else []
    shown = finished[[*scores, "size_kb", "latency_us", *SPEEDUP, "within_budget"]].round(2)
    failed = [f"failed: {point}: {row.error}" for point, row in table.iterrows() if row.error]
    return "\n".join([*([shown.to_string()] if len(shown) else []), *failed])


def write_table(table: pd.DataFrame, folder: Path) -> None:
    """Write the table as ``sweep.csv`` and ``sweep.parquet``."""
    write_atomically(folder / "sweep.csv", table.to_csv, WorkspaceError)
    write_atomically(folder / "sweep.parquet", table.to_parquet, WorkspaceError)


def _measures(outcome: Record | Exception) -> dict:
    if isinstance(outcome, Exception):
        reason = str(outcome) or type(outcome).__name__
        numbers = dict.fromkeys(MEASURES, float("nan"))
        return {
            "status": "failed",
            "score": "",
            **numbers,
            "within_budget": "",
            "conditions": "",
            "error": reason,
        }
    told = summary([outcome]).iloc[0].to_dict() | {
        "latency_low": outcome.latency["us_low"],
        "latency_high": outcome.latency["us_high"],
    }
    return {
        "status": "finished",
        "score": outcome.merit.name,
        "lower_is_better": outcome.merit.is_error,
        outcome.merit.name: told[outcome.merit.name],
        **{name: told[name] for name in MEASURES},
        "within_budget": told["budget"],
        "conditions": outcome.conditions,
        "error": "",
    }
