"""Reading a .tflite file: its operators, its tensors and its signature, without running it.

The schema is https://github.com/google-ai-edge/LiteRT/blob/main/tflite/schema/schema.fbs; its
Python classes come with ai_edge_litert.
"""

import struct
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from leankeras.errors import ModelError
from leankeras.files import is_git_lfs_pointer

IDENTIFIER = b"TFL3"
CASTS = ("QUANTIZE", "DEQUANTIZE")


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if not name.startswith("_")}


OPERATORS = _names(schema.BuiltinOperator)
TYPES = {value: name.lower() for value, name in _names(schema.TensorType).items()}


@dataclass(frozen=True)
class Tensor:
    """One tensor.

    Attributes:
        name: made by the converter from the names of operations.
        type: ``"float32"``, ``"int8"``, ...
        shape: with the batch axis.
        constant: whether its values are in the file.
        variable: whether it is state that carries over from one run to the next.
        scales: of a quantized tensor: one, or one for each channel.
        zero_points: of a quantized tensor, as many as scales.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    constant: bool
    variable: bool
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()


@dataclass(frozen=True)
class Operator:
    """One operator: its kind (``"CONV_2D"``, ...), and indices of its input and output tensors."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


NOTHING = Tensor("", "", (), False, False, (), ())


class TFLiteFile:
    """A .tflite file read as data.

    Args:
        path: the file.

    Raises:
        ModelError: the file does not exist, or is not a .tflite.

    Example:
        >>> TFLiteFile("model.tflite").tensor_types
        {'int8': 14, 'int32': 5}
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ModelError(f"{self.path}: no such file; expected a .tflite")
        self.content = self.path.read_bytes()
        if is_git_lfs_pointer(self.path):
            raise ModelError(
                f"{self.path}: a Git LFS pointer, not the file itself; fetch it with git lfs pull"
            )
        if self.content[4:8] != IDENTIFIER:
            raise ModelError(
                f"{self.path}: not a .tflite (identifier {IDENTIFIER.decode()} is missing); "
                "convert the model with leankeras.convert"
            )
        try:
            self._model = schema.Model.GetRootAs(self.content, 0)
            self._graph = self._model.Subgraphs(0)
            self._check()
        except (struct.error, TypeError, ValueError, LookupError, AttributeError) as error:
            raise ModelError(
                f"{self.path}: a damaged .tflite of {len(self.content)} bytes; convert the model "
                "again with leankeras.convert"
            ) from error

    @cached_property
    def tensors(self) -> list[Tensor]:
        """The tensors of the main graph, in the order of their indices."""
        return _tensors(self._model, self._graph)

    @cached_property
    def operators(self) -> list[Operator]:
        """The operators of the main graph, in the order they run."""
        return _operators(self._model, self._graph)

    @cached_property
    def kinds(self) -> Counter[str]:
        """How often each kind of operator occurs, in all graphs of the file."""
        graphs = [self._model.Subgraphs(k) for k in range(self._model.SubgraphsLength())]
        return Counter(op.kind for graph in graphs for op in _operators(self._model, graph))

    @cached_property
    def tensor_types(self) -> dict[str, int]:
        """How many tensors of each type the file holds, in all graphs."""
        graphs = [self._model.Subgraphs(k) for k in range(self._model.SubgraphsLength())]
        return dict(Counter(t.type for graph in graphs for t in _tensors(self._model, graph)))

    @cached_property
    def inputs(self) -> dict[str, int]:
        """Input name to tensor index; names from the first signature if there is one."""
        return self._signature("Inputs")

    @cached_property
    def outputs(self) -> dict[str, int]:
        """Output name to tensor index; names from the first signature if there is one."""
        return self._signature("Outputs")

    def result(self, operator: Operator) -> Tensor:
        """The result of an operator: its first output, or a nameless tensor if it has none."""
        return self.tensors[operator.outputs[0]] if operator.outputs else NOTHING

    def operator_layers(
        self, layers: Collection[str] = (), sources: Mapping[str, str] | None = None
    ) -> list[str]:
        """The Keras layer of each operator, or an empty string if it has none.

        Args:
            layers: see :func:`layer_of`.
            sources: output name to the operation that computes it; needed because the converter
                renames output tensors.
        """
        renamed = {self.outputs[name]: source for name, source in (sources or {}).items()}
        for operator in reversed(self.operators):
            if operator.kind in CASTS and operator.outputs[0] in renamed:
                renamed[operator.inputs[0]] = renamed[operator.outputs[0]]
        return [
            ""
            if operator.kind in CASTS
            else layer_of(
                next((renamed[index] for index in operator.outputs[:1] if index in renamed), "")
                or self.result(operator).name,
                layers,
            )
            for operator in self.operators
        ]

    def _check(self) -> None:
        """Read everything that is used later, so that damage shows now and not halfway through."""
        count = len(self.tensors)
        used = [index for op in self.operators for index in (*op.inputs, *op.outputs)]
        if any(index >= count for index in used):
            raise ValueError("an operator refers to a tensor that does not exist")
        for side, names in (("Inputs", self.inputs), ("Outputs", self.outputs)):
            if not set(names.values()) <= set(self._indices(side)):
                raise ValueError(f"{side} of the signature that the graph does not have")

    def _signature(self, side: str) -> dict[str, int]:
        if self._model.SignatureDefsLength():
            signature = self._model.SignatureDefs(0)
            entries = [
                getattr(signature, side)(k) for k in range(getattr(signature, f"{side}Length")())
            ]
            return {entry.Name().decode(): entry.TensorIndex() for entry in entries}
        indices = [getattr(self._graph, side)(k) for k in range(len(self._indices(side)))]
        return {self.tensors[index].name: index for index in indices}

    def _indices(self, side: str) -> tuple[int, ...]:
        return _as_tuple(getattr(self._graph, f"{side}AsNumpy")())


def layer_of(name: str, layers: Collection[str] = ()) -> str:
    """The Keras layer that computed a tensor, read from the tensor's name.

    The converter joins the names of fused operators with ``;``; the first that belongs to a layer
    counts.

    Args:
        name: a tensor name, such as ``"net/stem/Relu;net/stem/convolution"``.
        layers: paths of the model's layers (``"net/stem"``), if they are known.

    Returns:
        The path of the layer below the model (``"stem"``, ``"block/dense"``), or an empty string
        if the name does not show it.

    Example:
        >>> layer_of("net/stem/Relu;net/stem/convolution", {"net", "net/stem"})
        'stem'
    """
    for part in name.split(";"):
        scopes = part.split("/")
        if not layers and len(scopes) > 2:
            return scopes[1]
        for length in range(len(scopes), 1, -1):
            if "/".join(scopes[:length]) in layers:
                return "/".join(scopes[1:length])
    return ""


def is_within(layer: str, names: Collection[str]) -> bool:
    """Whether a layer is one of those named, or lies inside one of them."""
    return any(layer == name or layer.startswith(f"{name}/") for name in names)


def _as_tuple(values: np.ndarray | int, kind: type = int) -> tuple:
    # The generated accessors return the integer 0 if a vector is absent.
    return () if isinstance(values, int) else tuple(kind(value) for value in values)


def _tensors(model: schema.Model, graph: schema.SubGraph) -> list[Tensor]:
    read = []
    for k in range(graph.TensorsLength()):
        tensor = graph.Tensors(k)
        buffer = model.Buffers(tensor.Buffer())
        quantization = tensor.Quantization()
        read.append(
            Tensor(
                name=(tensor.Name() or b"").decode(errors="replace"),
                type=TYPES[tensor.Type()],
                shape=_as_tuple(tensor.ShapeAsNumpy()),
                constant=buffer.DataLength() > 0 or buffer.Size() > 0,
                variable=tensor.IsVariable(),
                scales=_as_tuple(quantization.ScaleAsNumpy(), float) if quantization else (),
                zero_points=_as_tuple(quantization.ZeroPointAsNumpy()) if quantization else (),
            )
        )
    return read


def _operators(model: schema.Model, graph: schema.SubGraph) -> list[Operator]:
    kinds = []
    for k in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(k)
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = code.CustomCode()
        kinds.append(custom.decode() if custom else OPERATORS[number])
    read = []
    for k in range(graph.OperatorsLength()):
        operator = graph.Operators(k)
        read.append(
            Operator(
                kind=kinds[operator.OpcodeIndex()],
                inputs=tuple(i for i in _as_tuple(operator.InputsAsNumpy()) if i >= 0),
                outputs=_as_tuple(operator.OutputsAsNumpy()),
            )
        )
    return read
