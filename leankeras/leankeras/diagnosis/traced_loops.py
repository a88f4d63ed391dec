"""What a loop runs over, according to the traced graph.

Python unrolls a loop into the operations of its steps. The graph shows which axis of which tensor a
step takes its part from, which weights it reads that the others do not, and whether it needs the
result of the previous step, however the loop is written.
"""

from dataclasses import dataclass

import tensorflow as tf

from leankeras.diagnosis.flow import Cut
from leankeras.diagnosis.loops import Loop
from leankeras.diagnosis.steps import Run
from leankeras.diagnosis.trial import Trial
from leankeras.diagnosis.unrolled import Unrolled

SHORT_LOOP = 4
PRODUCTS = ("MatMul", "BatchMatMul", "Einsum", "Conv", "DepthwiseConv")
CROPS = {"StridedSlice", "Slice", "CropAndResize"}
AXES = ("groups", "channels", "positions", "timesteps")  # the first that applies


@dataclass(frozen=True)
class TracedLoop:
    """A loop as it was traced.

    Args:
        over: what it runs over, as named by a rule about loops; None if it is not a fault.
        steps: the number of steps it took, in all its runs.
        runs: the number of runs.
        nodes: the number of nodes its steps created.
        of_nodes: the number of nodes in that graph; a map or scan has a graph of its own.
        along: the axis along which its steps take parts.
        is_constant: whether nothing in it depends on an input.
    """

    over: str | None
    steps: int = 0
    runs: int = 0
    nodes: int = 0
    of_nodes: int = 0
    along: str = ""
    is_constant: bool = False


def trace_loop(trial: Trial, loop: Loop) -> TracedLoop | None:
    """The traced form of a loop; None if the layer could not be traced."""
    if "graph-fails" not in trial.passed:
        return None
    runs = _runs(trial.traced.runs, loop)
    if not runs:
        return TracedLoop(None)
    longest = max(runs, key=lambda run: len(run.steps))
    at_eight = max((len(run.steps) for run in _runs(trial.several.runs, loop)), default=0)
    unrolled = Unrolled(trial.flow(longest.graph), longest)
    return TracedLoop(
        over="batch" if at_eight > len(longest.steps) else _over(unrolled),
        steps=sum(len(run.steps) for run in runs),
        runs=len(runs),
        nodes=sum(run.nodes for run in runs),
        of_nodes=longest.graph.num_operations(),
        along=_along(unrolled),
        is_constant=unrolled.is_constant,
    )


def _runs(runs: dict, loop: Loop) -> list[Run]:
    found = [run for position in loop.positions for run in runs.get(position, ())]
    return [run for run in found if run.steps]


def _over(loop: Unrolled) -> str | None:
    """What a loop runs over; None if that is not a fault."""
    if len(loop.steps) < 2:
        return None
    if loop.is_carried():
        return None if loop.is_stack() else "recurrence"
    if not loop.are_alike():
        return None
    if any(
        op.type in CROPS and any(loop.is_part(tensor) for tensor in op.inputs[1:])
        for op in loop.steps[loop.middle]
    ):
        return "regions"  # the part a step takes determines where it cuts something else
    weighted = loop.with_own_weights()
    if weighted and all("Gather" in op.type for op in weighted):
        return "branches"  # a table for each column
    if weighted and not any(map(loop.is_fed_a_part, weighted)):
        products = [op for op in weighted if op.type.startswith(PRODUCTS)]
        if not products:
            return "python-loop"
        return "filters" if "Conv" in products[0].type else "branches"
    if len(loop.steps) <= SHORT_LOOP and not loop.computes:
        return None  # a, b = (x[:, i] for i in range(2))
    axes = {_axis(loop, tensor, cut) for _, tensor, cut in loop.parts[loop.middle]}
    return next((name for name in AXES if name in axes), "python-loop")


def _axis(loop: Unrolled, tensor: tf.Tensor, cut: Cut) -> str | None:
    """The meaning of an axis, None for one that the layer itself has made."""
    rank = tensor.shape.rank
    first, axis = loop.flow.origin(tensor, cut.axis)
    if cut.axis == rank - 1 and rank > 1:
        # A reshape may have made it, for anchors say, before the last axis was cut off.
        if axis != first.shape.rank - 1:
            return None
        return "channels" if cut.width == 1 else "groups"
    if first.op.type != "Placeholder" or axis == 0:
        return None
    windows = cut.width != 1 and all(
        part.width == cut.width for parts in loop.parts for *_, part in parts
    )
    return "positions" if rank > 3 or windows else "timesteps"


def _along(loop: Unrolled) -> str:
    """The axis of a tensor along which its steps take their parts, "" if there is none."""
    for _, tensor, cut in loop.parts[loop.middle]:
        return f"along axis {cut.axis} of shape {tuple(tensor.shape)}"
    return ""
