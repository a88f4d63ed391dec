"""The main graph of a .tflite in editable form: operators, constants, calibrated ranges."""

import copy
from functools import cached_property

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from leankeras.runtime import IDENTIFIER

FLOAT32, INT32, INT8 = (
    schema.TensorType.FLOAT32,
    schema.TensorType.INT32,
    schema.TensorType.INT8,
)
DTYPES = {FLOAT32: np.float32, INT32: np.int32}
BUILTIN = schema.BuiltinOperator
PASSING = {
    BUILTIN.RESHAPE, BUILTIN.TRANSPOSE, BUILTIN.SQUEEZE, BUILTIN.EXPAND_DIMS,
    BUILTIN.BROADCAST_TO, BUILTIN.TILE, BUILTIN.SLICE, BUILTIN.STRIDED_SLICE, BUILTIN.GATHER,
}  # fmt: skip


class TFLiteGraph:
    """A .tflite taken apart into the objects of its schema.

    Args:
        content: the file's bytes. A calibrated one has the range of each activation in it.

    Attributes:
        model: the whole file, as the schema's ``ModelT``.
        changed: set this when you change something, so that :meth:`pack` rewrites the file.

    Example:
        >>> graph = TFLiteGraph(content)
        >>> [graph.kind(operator) for operator in graph.operators]
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.model = schema.ModelT.InitFromPackedBuf(content, 0)
        self.changed = False
        self._main = self.model.subgraphs[0]
        self._main.operators = self._main.operators or []
        for operator in self._main.operators:
            if operator.outputs is None:  # for example, an assignment to a variable
                operator.outputs = np.zeros(0, dtype=np.int32)

    @property
    def operators(self) -> list[schema.OperatorT]:
        """The operators, in the order they run."""
        return self._main.operators

    @operators.setter
    def operators(self, operators: list[schema.OperatorT]) -> None:
        self._main.operators = operators
        self.__dict__.pop("_producers", None)
        self.changed = True

    @property
    def tensors(self) -> list[schema.TensorT]:
        """The tensors, by their index."""
        return self._main.tensors

    @property
    def outputs(self) -> list[int]:
        """Indices of the tensors that the whole file returns."""
        return [int(index) for index in self._main.outputs]

    @outputs.setter
    def outputs(self, outputs: list[int]) -> None:
        self._main.outputs = np.asarray(outputs, dtype=np.int32)
        self.changed = True

    def kind(self, operator: schema.OperatorT) -> int:
        """An operator's number in ``schema.BuiltinOperator``."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return max(code.builtinCode, code.deprecatedBuiltinCode)

    def producer(self, tensor: int) -> schema.OperatorT | None:
        """The operator that computes a tensor; None for an input or a constant."""
        return self._producers.get(tensor)

    def consumers(self, tensor: int) -> list[schema.OperatorT]:
        """The operators that read a tensor."""
        return [operator for operator in self.operators if tensor in operator.inputs]

    def values(self, tensor: int) -> np.ndarray | None:
        """A constant's values, 32-bit floats or integers, in its shape; None for other tensors."""
        entry = self.tensors[tensor]
        data = self.model.buffers[entry.buffer].data
        if data is None or not len(data) or entry.type not in DTYPES:
            return None
        shape = () if entry.shape is None else tuple(entry.shape)
        return np.asarray(data, dtype=np.uint8).view(DTYPES[entry.type]).reshape(shape)

    def range(self, tensor: int) -> tuple[float, float] | None:
        """The smallest and largest value a tensor had in calibration, or has as a constant."""
        constant = self.values(tensor)
        if constant is not None:
            return float(constant.min()), float(constant.max())
        ranges = self.tensors[tensor].quantization
        if ranges is None or ranges.min is None or not len(ranges.min):
            return None
        return float(ranges.min[0]), float(ranges.max[0])

    def set_range(self, tensor: int, low: float, high: float) -> None:
        """Replace the range that calibration gave to a tensor."""
        ranges = self.tensors[tensor].quantization
        ranges.min, ranges.max = np.float32([low]), np.float32([high])
        self.changed = True

    def add_constant(self, value: np.ndarray) -> int:
        """Add a constant of 32-bit floats or integers; returns its index."""
        value = np.asarray(value)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(value.tobytes(), dtype=np.uint8)
        self.model.buffers.append(buffer)
        tensor = schema.TensorT()
        tensor.name = f"constant_{len(self.model.buffers)}".encode()
        tensor.type = INT32 if value.dtype == np.int32 else FLOAT32
        tensor.shape = np.asarray(value.shape, dtype=np.int32)
        tensor.buffer = len(self.model.buffers) - 1
        return self._add(tensor)

    def add_like(self, tensor: int) -> int:
        """Add an activation with a tensor's name, shape, type and range; returns its index."""
        duplicate = copy.copy(self.tensors[tensor])
        duplicate.quantization = copy.copy(duplicate.quantization)
        duplicate.buffer = 0  # in this format the first buffer is always the empty one
        return self._add(duplicate)

    def make_operator(self, kind: int, inputs: list[int], outputs: list[int]) -> schema.OperatorT:
        """Make an operator without options, which the caller adds to the others."""
        operator = schema.OperatorT()
        operator.inputs = np.asarray(inputs, dtype=np.int32)
        operator.outputs = np.asarray(outputs, dtype=np.int32)
        self.set_kind(operator, kind)
        return operator

    def set_kind(self, operator: schema.OperatorT, kind: int) -> None:
        """Change the kind of an operator."""
        kinds = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in self.model.operatorCodes]
        if kind not in kinds:
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = kind
            code.version = 1
            self.model.operatorCodes.append(code)
            kinds.append(kind)
        operator.opcodeIndex = kinds.index(kind)
        self.changed = True

    def set_input(self, operator: schema.OperatorT, place: int, tensor: int) -> None:
        """Make an operator read another tensor."""
        inputs = list(operator.inputs)
        inputs[place] = tensor
        operator.inputs = np.asarray(inputs, dtype=np.int32)
        self.changed = True

    def pack(self) -> bytes:
        """The file's bytes: the original ones if nothing was changed."""
        if not self.changed:
            return self.content
        self._drop_unused_codes()
        builder = flatbuffers.Builder(len(self.content))
        builder.Finish(self.model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _drop_unused_codes(self) -> None:
        """Remove operator codes that no operator uses: the calibrator cannot load them."""
        operators = [op for graph in self.model.subgraphs for op in graph.operators or ()]
        used = sorted({operator.opcodeIndex for operator in operators})
        for operator in operators:
            operator.opcodeIndex = used.index(operator.opcodeIndex)
        self.model.operatorCodes = [self.model.operatorCodes[index] for index in used]

    @cached_property
    def _producers(self) -> dict[int, schema.OperatorT]:
        return {int(index): op for op in self.operators for index in op.outputs}

    def _add(self, tensor: schema.TensorT) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1
