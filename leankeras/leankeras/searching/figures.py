"""Optuna's figures of a search, drawn with plotly."""

import warnings
from typing import Any

import optuna
import plotly.express as px
from optuna import visualization
from optuna.importance import PedAnovaImportanceEvaluator

from leankeras.runtime import pareto_front
from leankeras.searching.outcome import trials_table
from leankeras.searching.study import Trials

LEAST_TRIALS = 4
NAMES = {
    "fastest": ["estimated latency (log ns)"],
    "smallest": ["size, kB"],
    "accurate": ["lost, a fraction"],
    "front": ["lost, a fraction", "estimated latency (log ns)", "size, kB"],
}


def figures(trials: Trials) -> dict[str, Any]:
    """Score against latency; history, importance of the knobs and, of several aims, the front.

    Args:
        trials: those of a search.

    Returns:
        Plotly figures by title; none of importance before there are a few different trials.
    """
    study, names = trials.study, NAMES[trials.goal.name]
    drawn: dict[str, Any] = {"Score against latency": _measured(trials)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "PedAnova")  # low is good, as it takes for granted
        for position, name in enumerate(names):
            target = _target(position, names)
            drawn[f"History: {name}"] = visualization.plot_optimization_history(
                study, target=target, target_name=name
            )
            done = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
            if len({trial.values[position] for trial in done}) >= LEAST_TRIALS:
                drawn[f"What decides: {name}"] = visualization.plot_param_importances(
                    study,
                    evaluator=PedAnovaImportanceEvaluator(),
                    target=target,
                    target_name=name,
                )
        if len(names) > 1:
            drawn["The front"] = visualization.plot_pareto_front(study, target_names=names)
    return drawn


def _measured(trials: Trials) -> Any:
    """What the trials that were trained in full lose, against their latency; size as area."""
    table, merit = trials_table(trials), trials.goal.merit
    points = table[table.lost.notna() & (table.dropped == "")].reset_index()
    beaten = ~pareto_front(points[["lost", "us", "size_kb"]])
    return px.scatter(
        points.assign(
            lost=100 * points.lost, trials=["beaten" if each else "the front" for each in beaten]
        ),
        x="us",
        y="lost",
        size="size_kb",
        color="trials",
        hover_name="chain",
        hover_data=["trial"],
        labels={"us": "LiteRT latency, µs", "lost": f"{merit.unit} lost on the validation part"},
        template="plotly_white",
    )


def _target(position: int, names: list[str]) -> Any:
    return None if len(names) == 1 else lambda trial: trial.values[position]
