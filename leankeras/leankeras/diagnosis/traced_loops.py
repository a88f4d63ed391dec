"""What a loop runs over, as the graph shows that tracing made of it.

Python unrolls a loop into the operations of its steps. Which axis of which tensor a step takes its
part from, which weights it reads that the others do not, and whether it needs what the step before
computed, is all in the graph, however the loop is written.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import tensorflow as tf

from leankeras.diagnosis.flow import Cut, Flow
from leankeras.diagnosis.loops import Loop
from leankeras.diagnosis.steps import Run
from leankeras.diagnosis.trial import Trial

SUMS = {"Add", "AddV2", "AddN", "Sub", "Mul", "Maximum", "Minimum", "ConcatV2"}
PRODUCTS = ("MatMul", "BatchMatMul", "Einsum", "Conv", "DepthwiseConv")
TAKES = {"StridedSlice", "Slice", "GatherV2", "GatherNd"}
MOVES = {"Reshape", "Transpose", "ExpandDims", "Squeeze", "Shape"}
# What they do is in their arguments, not in their attributes.
GEOMETRY = ("SpaceToBatch", "BatchToSpace", "Resize", "Roll", "Pad")
CROPS = {"StridedSlice", "Slice", "CropAndResize"}
SHORT_LOOP = 4
QUIET = {"Placeholder", "Const", "ReadVariableOp", "Identity", "Pack"}


@dataclass(frozen=True)
class TracedLoop:
    """A loop as it was traced.

    Args:
        over: what it runs over, the name of a rule about loops; None where it is no fault.
        steps: how many steps it took, in all its runs.
        runs: how often it was run.
        nodes: how many nodes its steps made.
        of_nodes: of how many in that graph; a map or scan has one of its own.
        what: the axis that its steps take parts along.
        is_constant: whether nothing in it depends on an input.
    """

    over: str | None
    steps: int
    runs: int
    nodes: int
    of_nodes: int
    what: str = ""
    is_constant: bool = False


def trace_loop(trial: Trial, loop: Loop) -> TracedLoop | None:
    """What tracing shows of a loop; None where the layer could not be traced."""
    if "graph-fails" not in trial.passed:
        return None
    runs = _runs(trial.traced.runs, loop)
    steps, nodes = (sum(count) for count in ((len(r.steps) for r in runs), (r.nodes for r in runs)))
    if not steps:
        return TracedLoop(None, 0, 0, 0, 0)
    most = max(len(run.steps) for run in runs)
    at_eight = max((len(run.steps) for run in _runs(trial.several.runs, loop)), default=most)
    longest = next(run for run in runs if len(run.steps) == most)
    of_nodes = longest.graph.num_operations()
    if at_eight > most:
        return TracedLoop("batch", steps, len(runs), nodes, of_nodes)
    unrolled = Unrolled(trial.flow(longest.graph), longest)
    what, is_constant = unrolled.what(), unrolled.is_constant
    return TracedLoop(unrolled.over(), steps, len(runs), nodes, of_nodes, what, is_constant)


def _runs(runs: dict, loop: Loop) -> list[Run]:
    found = [run for position in loop.positions for run in runs.get(position, ())]
    return [run for run in found if run.steps]


class Unrolled:
    """One run of a loop: the operations of each of its steps.

    Args:
        flow: the graph they are in.
        run: the numbers of the steps' operations.
    """

    def __init__(self, flow: Flow, run: Run) -> None:
        self.flow = flow
        self.steps = [[flow.operations[number] for number in step] for step in run.steps]
        # What is made once and captured stands where it was first used.
        self.step_of = {
            op.name: number
            for number, step in enumerate(self.steps)
            for op in step
            if op.type not in ("Placeholder", "Const")
        }
        # The first and the last step are often special.
        self.middle = len(self.steps) // 2

    def over(self) -> str | None:
        """What it runs over, the name of a rule about loops; None where that is no fault."""
        if len(self.steps) < 2:
            return None
        if self._is_carried():
            return None if self._is_stack() else "recurrence"
        if not self._are_alike():
            return None
        if self._cuts_regions():
            return "regions"
        with_weights = self._with_own_weights()
        looks_up = with_weights and all("Gather" in op.type for op in with_weights)
        if looks_up:
            return "branches"  # a table for each column
        if with_weights and not any(self._is_fed_a_part(op) for op in with_weights):
            products = [op for op in with_weights if op.type.startswith(PRODUCTS)]
            if not products:
                return "python-loop"
            return "filters" if "Conv" in products[0].type else "branches"
        if len(self.steps) <= SHORT_LOOP and not self._computes():
            return None  # a, b = (x[:, i] for i in range(2))
        axes = {self._name(tensor, cut) for _, tensor, cut in self.parts[self.middle]}
        known = [name for name in ("groups", "channels", "positions", "timesteps") if name in axes]
        return known[0] if known else "python-loop"

    def _computes(self) -> bool:
        """Whether a step does more than take parts and move them about."""
        return any(op.type not in QUIET | TAKES | MOVES for op in self.steps[self.middle])

    def what(self) -> str:
        """The axis of a tensor that its steps take their parts along, "" where there is none."""
        for _, tensor, cut in self.parts[self.middle] if len(self.steps) > 1 else ():
            return f"along axis {cut.axis} of shape {tuple(tensor.shape)}"
        return ""

    @property
    def is_constant(self) -> bool:
        """Whether nothing in it depends on an input."""
        return not any(op.name in self.flow.from_input for step in self.steps for op in step)

    @cached_property
    def parts(self) -> list[list[tuple[tf.Operation, tf.Tensor, Cut]]]:
        """What each step takes of tensors made before the loop, where others take other parts."""
        return self._varying(self.flow.from_input)

    @cached_property
    def slices(self) -> list[list[tuple[tf.Operation, tf.Tensor, Cut]]]:
        """The same of weights."""
        return self._varying(self.flow.from_weights)

    @cached_property
    def own(self) -> list[frozenset[str]]:
        """The variables that each step reads and not every other one."""
        read = []
        for step in self.steps:
            names = {op.name for op in step} | {t.op.name for op in step for t in op.inputs}
            variables = [self.flow.from_weights.get(name, frozenset()) for name in names]
            read.append(frozenset().union(*variables))
        shared = frozenset.intersection(*read)
        return [names - shared for names in read]

    def _varying(self, of: object) -> list[list[tuple[tf.Operation, tf.Tensor, Cut]]]:
        taken = [
            [
                (op, tensor, cut)
                for op in step
                for tensor, cut in self._taken(op)
                if tensor.op.name in of and tensor.op.name not in self.step_of
            ]
            for step in self.steps
        ]
        starts: dict[tuple[str, int], set[frozenset[int]]] = {}
        for parts in taken:
            axes = {(cut.tensor, cut.axis) for *_, cut in parts}
            for key in axes:
                here = {cut.start for *_, cut in parts if (cut.tensor, cut.axis) == key}
                starts.setdefault(key, set()).add(frozenset(here))
        return [
            [part for part in parts if len(starts[part[2].tensor, part[2].axis]) > 1]
            for parts in taken
        ]

    def _taken(self, op: tf.Operation):
        """The parts that an operation takes, or is given of what was cut up before the loop."""
        yield from self.flow.cuts(op)
        for tensor in op.inputs:
            if tensor.op.name not in self.step_of:
                yield from self.flow.cuts(tensor.op)
                yield from self.flow.pieces(tensor)

    def _is_carried(self) -> bool:
        """Whether a step needs what a step before it computed; sums do not count."""
        return any(
            self.step_of.get(tensor.op.name, number) != number and op.name not in self._sums
            for number, step in enumerate(self.steps)
            for op in step
            for tensor in op.inputs
        )

    @cached_property
    def _sums(self) -> set[str]:
        """The operations that add to a sum, of which the loop reads nothing but more sums."""
        found: set[str] = set()
        for step in self.steps:
            own = {op.name for op in step}
            for op in reversed(step):
                readers = [reader for output in op.outputs for reader in output.consumers()]
                if op.type in SUMS and all(
                    reader.name in found if reader.name in own else reader.type in SUMS
                    for reader in readers
                    if reader.name in self.step_of
                ):
                    found.add(op.name)
        return found

    def _is_stack(self) -> bool:
        """Whether each step has weights of its own, as layers in a row have."""
        return all(self.own) or (all(self.slices) and not any(self.parts))

    def _are_alike(self) -> bool:
        """Whether its steps do the same, but for one; what differs cannot be done at once."""
        seen = Counter(self._signature(number) for number in range(len(self.steps)))
        return seen.most_common(1)[0][1] >= max(2, len(self.steps) - 1)

    def _signature(self, number: int) -> tuple:
        """What a step does, with weights of which shapes, and the shapes of what it gives."""
        step = self.steps[number]
        own = [
            str(tensor.shape)
            for op in step
            for tensor in op.inputs
            if self.flow.from_weights.get(tensor.op.name, frozenset()) & self.own[number]
        ]
        given = [
            str(part.shape)
            for op in step
            for tensor in op.outputs
            if any(self.step_of.get(reader.name) != number for reader in tensor.consumers())
            # of a sum, what this step adds to it
            for part in (op.inputs if op.type in SUMS else [tensor])
            if self.step_of.get(part.op.name) == number
        ]
        done = [_action(op) for op in step if op.type not in QUIET | SUMS]
        return tuple(sorted(own)), tuple(sorted(given)), tuple(sorted(done))

    def _with_own_weights(self) -> list[tf.Operation]:
        """The operations of a step in which its own weights meet what depends on an input."""
        mine = {
            name
            for op in self.steps[self.middle]
            for name in (op.name, *(tensor.op.name for tensor in op.inputs))
            if self.flow.from_weights.get(name, frozenset()) & self.own[self.middle]
        }
        mine |= self._after({op.name for op, *_ in self.slices[self.middle]})
        return [
            op
            for op in self.steps[self.middle]
            if op.name in self.flow.from_input
            and any(tensor.op.name in self.flow.from_weights for tensor in op.inputs)
            and (op.name in mine or any(tensor.op.name in mine for tensor in op.inputs))
        ]

    def _is_fed_a_part(self, op: tf.Operation) -> bool:
        return op.name in self._taking or any(t.op.name in self._fed for t in op.inputs)

    @cached_property
    def _taking(self) -> set[str]:
        """The operations of a step that take parts, or are given them."""
        return {op.name for op, *_ in self.parts[self.middle]}

    @cached_property
    def _fed(self) -> set[str]:
        """The operations of a step that depend on its parts."""
        return self._after(self._taking)

    def _after(self, names: set[str]) -> set[str]:
        """The operations of a step that depend on some of them, these included."""
        reached = set(names)
        for op in self.steps[self.middle]:
            if any(tensor.op.name in reached for tensor in op.inputs):
                reached.add(op.name)
        return reached

    def _cuts_regions(self) -> bool:
        """Whether what a step takes says where it cuts something else."""
        return any(
            op.type in CROPS and any(self._is_part(tensor) for tensor in op.inputs[1:])
            for op in self.steps[self.middle]
        )

    def _is_part(self, tensor: tf.Tensor) -> bool:
        piece = tensor.op.name not in self.step_of and any(self.flow.pieces(tensor))
        return piece or tensor.op.name in self._fed

    def _name(self, tensor: tf.Tensor, cut: Cut) -> str:
        rank = tensor.shape.rank
        first, axis = self.flow.origin(tensor, cut.axis)
        if cut.axis == rank - 1 and rank > 1:
            # A reshape may have made the axis, of anchors say, before the last one was cut off.
            if axis != first.shape.rank - 1:
                return "another"
            return "channels" if cut.width == 1 else "groups"
        if first.op.type != "Placeholder" or axis == 0:
            return "another"
        windows = cut.width != 1 and all(
            part.width == cut.width for parts in self.parts for *_, part in parts
        )
        return "positions" if rank > 3 or windows else "timesteps"


def _action(op: tf.Operation) -> str:
    """What an operation does, whatever it does it to."""
    names = [name for name in ("strides", "dilations", "ksize") if name in op.node_def.attr]
    sizes = op.inputs[1:] if op.type.startswith(GEOMETRY) else ()
    given = [*(op.get_attr(name) for name in names), *map(tf.get_static_value, sizes)]
    return f"{op.type} {given}"
