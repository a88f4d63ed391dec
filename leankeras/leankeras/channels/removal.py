"""Remove whole channels from a Keras 3 model, so it becomes smaller and faster on any runtime.

There are three concepts: a `ChannelGraph` knows which channels can only be removed together (a
`ChannelGroup`), and a `Removal` selects the ones to remove and builds the smaller model.
"""

from collections.abc import Mapping, Sequence

import keras

from leankeras.channels.groups import ChannelGraph, ChannelGroup
from leankeras.channels.scores import score_channels
from leankeras.channels.surgery import Removal
from leankeras.data import Data
from leankeras.errors import ModelError, ParameterError
from leankeras.objective import check_weights
from leankeras.parameters import check_parameters


def remove_channels(
    model: keras.Model,
    fraction: float | Mapping[str, float] = 0.5,
    criterion: str = "norm",
    data: Data | None = None,
    scope: str = "global",
    round_to: int = 1,
    leave: Sequence[str] = (),
    verbose: int = 1,
) -> keras.Model:
    """Remove the least important channels physically and return the smaller model.

    The result has the same layer names, is an ordinary uncompiled Keras 3 model, and computes the
    same as the original with every weight of a removed channel set to zero. It usually needs a
    few epochs of training afterwards. The original model is not changed.

    A custom layer whose output channel k depends only on its input channel k can take part: its
    method ``channel_axes()`` returns, for each of its weights, the axis on which the channels
    lie, or None for a weight that all channels share.

    Args:
        model: a built Functional or Sequential model, nested ones included. Channels that reach
            a layer which cannot be followed (a custom layer, attention, a recurrent layer) stay.
        fraction: share of the removable channels to remove, in [0, 1); or a dict from layer name
            to the fraction of its group, which leaves all other groups unchanged.
        criterion: the measure of a channel's importance: "norm", the L2 norm of all weights that
            make or read it; "batchnorm", the size of its BatchNormalization scale (Liu et al.,
            "Network Slimming", arXiv:1708.06519); "taylor", the first-order change of the loss
            when it is removed (Molchanov et al., arXiv:1906.10771), which needs ``data``.
        data: training samples for "taylor".
        scope: "global" ranks the channels of all groups together, "layer" removes the same
            fraction of each group.
        round_to: the remaining channels of each group are rounded up to a multiple of this.
        leave: names of layers that keep all their output channels.
        verbose: 1 prints the table of groups before the work, 0 prints nothing.

    Returns:
        A new, smaller model with the same inputs and outputs.

    Raises:
        ParameterError: a fraction is outside [0, 1), or the criterion or scope is unknown.
        ModelError: the model is not built, or subclassed, has NaN weights, has no layer of a
            given name, or nothing in it can be removed.

    Example:
        >>> smaller = leankeras.remove_channels(model, 0.5, leave=["stem"])
        >>> smaller.count_params() < model.count_params()
        True
    """
    removal = plan_removal(model, fraction, criterion, data, scope, round_to, leave)
    if not any(group.removable for group in removal.graph.groups):
        reasons = "; ".join(filter(None, removal.table["frozen because"]))
        raise ModelError(
            f"{model.name} has no channel that can be removed ({reasons or 'no layer makes any'})"
        )
    if verbose:
        print(removal)
    return removal.apply()


def plan_removal(
    model: keras.Model,
    fraction: float | Mapping[str, float] = 0.5,
    criterion: str = "norm",
    data: Data | None = None,
    scope: str = "global",
    round_to: int = 1,
    leave: Sequence[str] = (),
) -> "Removal":
    """Decide which channels to remove, without removing them yet.

    Arguments and errors are those of `remove_channels`, but if nothing can be removed, the plan
    says why, and applying it gives a copy.

    Example:
        >>> removal = plan_removal(model, 0.5)
        >>> removal.table
        >>> smaller, masked = removal.apply(), removal.mask()
    """
    _check_choice("scope", scope, ("global", "layer"))
    if not isinstance(round_to, int) or round_to < 1:
        raise ParameterError(f"round_to is {round_to!r}; expected an integer of at least 1")
    fractions = fraction.values() if isinstance(fraction, Mapping) else [fraction]
    for value in fractions:
        check_parameters({"fraction": value})
    graph = ChannelGraph(model, leave)
    check_weights(model)
    scores = score_channels(graph, model, criterion, data)
    groups = graph.groups
    if isinstance(fraction, Mapping):
        removed = _worst_of_named(graph, scores, fraction)
    elif scope == "layer":
        removed = set().union(
            *(_worst(group.removable, fraction, scores) for group in graph.groups)
        )
    else:
        removable = [channel for group in groups for channel in group.removable]
        removed = _worst(removable, fraction, scores)
    _keep_every_layer_alive(graph, scores, removed)
    for group in groups:
        _round_up(group, scores, removed, round_to)
    return Removal(model, graph, frozenset(removed))


def _check_choice(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ParameterError(f"{what} is {value!r}; expected one of {', '.join(known)}")


def _worst(channels: Sequence[int], fraction: float, scores: Mapping[int, float]) -> set[int]:
    return set(sorted(channels, key=scores.__getitem__)[: int(round(fraction * len(channels), 6))])


def _worst_of_named(
    graph: ChannelGraph, scores: Mapping[int, float], fractions: Mapping[str, float]
) -> set[int]:
    for name in fractions:
        graph.check_name(name)
    removed: set[int] = set()
    for group in graph.groups:
        asked = {name: fractions[name] for name in group.layers if name in fractions}
        if len(set(asked.values())) > 1:
            raise ParameterError(
                f"{asked} name different fractions for layers whose channels can only be removed "
                "together; give one"
            )
        if asked and not group.removable:
            raise ModelError(
                f"no channel of {', '.join(asked)} can be removed: {group.frozen_because}"
            )
        if asked:
            removed |= _worst(group.removable, next(iter(asked.values())), scores)
    return removed


def _keep_every_layer_alive(
    graph: ChannelGraph, scores: Mapping[int, float], removed: set[int]
) -> None:
    """Restore the best channel wherever a layer would be left with none."""
    for layer in graph.layers.values():
        for axes in layer.weights:
            for ids in axes.values():
                roots = set(graph.roots(ids).tolist())
                if roots <= removed:
                    removed.remove(max(roots, key=scores.__getitem__))


def _round_up(
    group: ChannelGroup, scores: Mapping[int, float], removed: set[int], multiple: int
) -> None:
    gone = sorted(removed.intersection(group.channels), key=scores.__getitem__)
    kept = len(group.channels) - len(gone)
    removed.difference_update(gone[len(gone) - (-kept % multiple) :] if -kept % multiple else ())
