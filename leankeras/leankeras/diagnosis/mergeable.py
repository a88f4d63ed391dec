"""Whether ``leankeras.rewrite`` can merge a loop, without rewriting the layer."""

import warnings
from typing import Any

import keras

from leankeras.diagnosis.loops import Loop
from leankeras.diagnosis.source import is_library
from leankeras.diagnosis.trial import Trial
from leankeras.errors import RewriteError
from leankeras.graph import is_graph
from leankeras.rewriting import Forecast, forecast

Outlook = Forecast | RewriteError


def forecasts(trial: Trial) -> list[Outlook]:
    """What rewriting would do to the user's layers: one forecast, or refusal, for each class."""
    found = {}
    for layer, shape in _layers(trial):
        if type(layer) in found or is_library(type(layer)):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the trial has seen them
            try:
                found[type(layer)] = forecast(layer, shape)
            except RewriteError as error:
                found[type(layer)] = error
    return list(found.values())


def advice(loop: Loop, outlooks: list[Outlook], by_hand: str) -> str:
    """What to do about a loop, starting with ``rewrite`` if that can merge it.

    Args:
        loop: the loop.
        outlooks: the forecasts for the layers that it may be in.
        by_hand: what to do without ``rewrite``.
    """
    for one in outlooks:
        if isinstance(one, RewriteError):
            continue
        before, after = (sum(map(loop.includes, places)) for places in (one.before, one.after))
        if not before:
            continue
        if after >= before:
            reasons = [reason for places, reason in one.obstacles if loop.includes(places)]
            why = reasons[0] if reasons else "nothing in it can be done at once"
            return f"{by_hand} leankeras.rewrite cannot merge it: {why}."
        part = "" if after <= before / 2 else "part of "
        counts = f"{len(one.before)} operations become {len(one.after)}"
        hand = f"{by_hand[0].lower()}{by_hand[1:]}"
        return f"leankeras.rewrite can merge {part}it: the layer's {counts}. By hand: {hand}"
    refused = [str(one) for one in outlooks if isinstance(one, RewriteError)]
    return f"{by_hand} leankeras.rewrite leaves it as it is: {refused[0]}." if refused else by_hand


def _layers(trial: Trial) -> list[tuple[keras.Layer, Any]]:
    """The layers that ``rewrite`` would be given, each with the shape of a sample if known."""
    if is_graph(trial.layer):
        return [(layer, None) for layer in trial.layer.layers]
    return [(trial.layer, trial.inputs.structure)]
