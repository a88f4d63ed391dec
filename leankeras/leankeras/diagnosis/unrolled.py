"""One run of a loop in the graph: what its steps take, share, and pass to one another."""

from collections import Counter
from collections.abc import Container, Iterator
from functools import cached_property

import tensorflow as tf

from leankeras.diagnosis.flow import Cut, Flow
from leankeras.diagnosis.steps import Run

Part = tuple[tf.Operation, tf.Tensor, Cut]

# Operations that accumulate in any order of the steps, grouped under a common name.
SUMS = {
    "Add": "+", "AddV2": "+", "AddN": "+", "Sub": "+", "Mul": "*",
    "Maximum": "max", "Minimum": "min", "ConcatV2": "concat",
}  # fmt: skip
QUIET = {"Placeholder", "Const", "ReadVariableOp", "Identity", "Pack"}
TAKES = {"StridedSlice", "Slice", "GatherV2", "GatherNd"}
MOVES = {"Reshape", "Transpose", "ExpandDims", "Squeeze", "Shape"}
# The effect of these is in their arguments, not in their attributes.
GEOMETRY = ("SpaceToBatch", "BatchToSpace", "Resize", "Roll", "Pad")


class Unrolled:
    """One run of a loop.

    Args:
        flow: the graph that holds its steps.
        run: the numbers of their operations.

    Attributes:
        steps: the operations of each step.
        step_of: the number of the step that an operation belongs to, by its name.
        middle: the number of a step in the middle; the first and the last are often special.
    """

    def __init__(self, flow: Flow, run: Run) -> None:
        self.flow = flow
        self.steps = [[flow.operations[number] for number in step] for step in run.steps]
        # Captures and constants are placed at their first use, but belong to no step.
        self.step_of = {
            op.name: number
            for number, step in enumerate(self.steps)
            for op in step
            if op.type not in ("Placeholder", "Const")
        }
        self.middle = len(self.steps) // 2

    @property
    def is_constant(self) -> bool:
        """Whether nothing in it depends on an input."""
        return not any(op.name in self.flow.from_input for step in self.steps for op in step)

    @property
    def computes(self) -> bool:
        """Whether a step does more than take parts and rearrange them."""
        return any(op.type not in QUIET | TAKES | MOVES for op in self.steps[self.middle])

    @cached_property
    def parts(self) -> list[list[Part]]:
        """The parts each step takes of tensors made before the loop, if they differ by step."""
        return self._varying(self.flow.from_input)

    @cached_property
    def slices(self) -> list[list[Part]]:
        """The parts of weights that each step takes, if they differ by step."""
        return self._varying(self.flow.from_weights)

    @cached_property
    def own(self) -> list[frozenset[str]]:
        """The variables that each step reads, except those that all of them read."""
        read = []
        for step in self.steps:
            names = {op.name for op in step} | {t.op.name for op in step for t in op.inputs}
            variables = [self.flow.from_weights.get(name, frozenset()) for name in names]
            read.append(frozenset().union(*variables))
        shared = frozenset.intersection(*read)
        return [names - shared for names in read]

    def is_carried(self) -> bool:
        """Whether a step needs the result of an earlier step; sums do not count."""
        return any(
            self.step_of.get(tensor.op.name, number) != number and op.name not in self._sums
            for number, step in enumerate(self.steps)
            for op in step
            for tensor in op.inputs
        )

    def is_stack(self) -> bool:
        """Whether each step has weights of its own, like a stack of layers."""
        return all(self.own) or (all(self.slices) and not any(self.parts))

    def are_alike(self) -> bool:
        """Whether all steps, except at most one, do the same; different ones cannot be batched."""
        seen = Counter(self._signature(number) for number in range(len(self.steps)))
        return seen.most_common(1)[0][1] >= max(2, len(self.steps) - 1)

    def with_own_weights(self) -> list[tf.Operation]:
        """The operations of a step that combine its own weights with values from an input."""
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

    def is_part(self, tensor: tf.Tensor) -> bool:
        """Whether a tensor in a step is one of its parts or computed from them."""
        piece = tensor.op.name not in self.step_of and any(self.flow.pieces(tensor))
        return piece or tensor.op.name in self._fed

    def is_fed_a_part(self, op: tf.Operation) -> bool:
        """Whether an operation of a step depends on one of its parts."""
        return op.name in self._taking or any(t.op.name in self._fed for t in op.inputs)

    @cached_property
    def _taking(self) -> set[str]:
        return {op.name for op, *_ in self.parts[self.middle]}

    @cached_property
    def _fed(self) -> set[str]:
        return self._after(self._taking)

    def _after(self, names: set[str]) -> set[str]:
        """The given operations of a step and those that depend on them."""
        reached = set(names)
        for op in self.steps[self.middle]:
            if any(tensor.op.name in reached for tensor in op.inputs):
                reached.add(op.name)
        return reached

    def _varying(self, of: Container[str]) -> list[list[Part]]:
        taken = [
            [
                (op, tensor, cut)
                for op in step
                for tensor, cut in self._taken(op)
                if tensor.op.name in of and not self._is_inside(cut)
            ]
            for step in self.steps
        ]
        starts: dict[tuple[str, int], set[frozenset]] = {}
        for parts in taken:
            for key in {(cut.tensor, cut.axis) for *_, cut in parts}:
                here = {cut.start for *_, cut in parts if (cut.tensor, cut.axis) == key}
                starts.setdefault(key, set()).add(frozenset(here))
        return [
            [part for part in parts if len(starts[part[2].tensor, part[2].axis]) > 1]
            for parts in taken
        ]

    def _is_inside(self, cut: Cut) -> bool:
        return cut.tensor.partition(":")[0] in self.step_of

    def _taken(self, op: tf.Operation) -> Iterator[tuple[tf.Tensor, Cut]]:
        """The parts that an operation takes, or gets from a tensor cut up before the loop."""
        yield from self.flow.cuts(op)
        for tensor in op.inputs:
            if tensor.op.name not in self.step_of:
                yield from self.flow.cuts(tensor.op)
                yield from self.flow.pieces(tensor)

    @cached_property
    def _sums(self) -> set[str]:
        """The operations that add to a sum that the loop reads only to add to it again."""
        found: set[str] = set()
        for step in self.steps:
            own = {op.name for op in step}
            for op in reversed(step):
                readers = [reader for output in op.outputs for reader in output.consumers()]
                if op.type in SUMS and all(
                    SUMS.get(reader.type) == SUMS[op.type]
                    and (reader.name not in own or reader.name in found)
                    for reader in readers
                    if reader.name in self.step_of
                ):
                    found.add(op.name)
        return found

    def _signature(self, number: int) -> tuple:
        """A step's operations, and the shapes of its own weights and of its results."""
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
            # for a sum, the term that this step adds
            for part in (op.inputs if op.type in SUMS else [tensor])
            if self.step_of.get(part.op.name) == number
        ]
        done = [_action(op) for op in step if op.type not in QUIET and op.type not in SUMS]
        return tuple(sorted(own)), tuple(sorted(given)), tuple(sorted(done))


def _action(op: tf.Operation) -> str:
    """The action of an operation, regardless of its operands."""
    names = [name for name in ("strides", "dilations", "ksize") if name in op.node_def.attr]
    sizes = op.inputs[1:] if op.type.startswith(GEOMETRY) else ()
    given = [*(op.get_attr(name) for name in names), *map(tf.get_static_value, sizes)]
    return f"{op.type} {given}"
