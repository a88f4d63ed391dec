"""Bit-exact comparison on small whole numbers.

With whole numbers as weights and inputs, sums, products and maxima are exact in float32 in any
order, so a correct rewrite gives the same numbers and a wrong one is off by whole numbers. This
applies if the reference consists of such operations and its results are whole numbers that float32
holds exactly.
"""

import numpy as np
import tensorflow as tf

from leankeras.equivalence.calling import Arrays, Callee
from leankeras.equivalence.pair import Pair
from leankeras.equivalence.perturbation import kept, make_whole
from leankeras.equivalence.roles import Role
from leankeras.equivalence.tolerance import apart, distance, is_float
from leankeras.equivalence.usage import operations
from leankeras.equivalence.values import draw
from leankeras.equivalence.verdict import Row

EXACT = {
    *("Placeholder", "Const", "ReadVariableOp", "Identity", "IdentityN", "NoOp", "StopGradient"),
    *("PartitionedCall", "StatefulPartitionedCall", "_Arg", "_Retval", "Cast", "Shape", "Size"),
    *("Rank", "Reshape", "ExpandDims", "Squeeze", "Transpose", "ConcatV2", "Pack", "Unpack"),
    *("Split", "SplitV", "StridedSlice", "Slice", "Tile", "BroadcastTo", "BroadcastArgs", "Fill"),
    *("Range", "GatherV2", "GatherNd", "ResourceGather", "OneHot", "Pad", "PadV2", "MirrorPad"),
    *("ReverseV2", "Roll", "ZerosLike", "OnesLike", "EnsureShape", "MatrixBandPart", "Where"),
    *("Add", "AddV2", "AddN", "Sub", "Mul", "Neg", "Abs", "Square", "SquaredDifference", "Sign"),
    *("BiasAdd", "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "FloorMod"),
    *("Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Relu", "Relu6"),
    *("MaxPool", "MaxPoolV2", "MaxPool3D", "Max", "Min", "Sum", "Prod", "All", "Any", "Cumsum"),
    *("Maximum", "Minimum", "Select", "SelectV2", "Equal", "NotEqual", "Less", "LessEqual"),
    *("Greater", "GreaterEqual", "LogicalAnd", "LogicalOr", "LogicalNot", "ArgMax", "ArgMin"),
    *("TopKV2", "UnsortedSegmentSum", "UnsortedSegmentMax", "SegmentSum", "ScatterNd"),
    *("SpaceToBatchND", "BatchToSpaceND", "SpaceToDepth", "DepthToSpace", "DenseBincount"),
    *("ResourceGatherNd", "LeakyRelu", "Round", "Floor", "InvertPermutation", "Bitcast"),
}
WHOLE_NUMBERS = "whole numbers"
BATCHES = 2
# Far enough below 2**24 that sums on the way to an output are exact, too.
LARGEST = 2.0**20
LARGEST_SUM = 2.0**23


def compare_whole_numbers(pair: Pair, roles: list[Role], relative: float, batch: int) -> list[Row]:
    """The outputs on whole numbers side by side; nothing if exactness cannot be expected.

    Args:
        pair: both built, the reference traced; their weights are restored.
        roles: the roles of the inputs.
        relative: the tolerance for a candidate that is not itself exact on whole numbers.
        batch: number of samples in a batch.
    """
    reference, candidate = pair.reference, pair.candidate
    if reference.graph is None or reference.is_half() or not _is_exact(reference):
        return []
    rng = np.random.default_rng(3)
    rows = []
    with kept(reference.layer, candidate.layer):
        make_whole(reference.layer)
        batches = [[draw(role, "whole", batch, rng) for role in roles] for _ in range(BATCHES)]
        expected = [reference.run(arrays) for arrays in batches]
        if not all(_are_whole(outputs, LARGEST) for outputs in expected):
            return []
        pair.port()
        # Eagerly: a port may set attributes that are not variables, which the graph does not see.
        seen = [candidate.eager(arrays) for arrays in batches]
        if not _sums_are_exact(reference, batches):
            return []
    for wanted, given in zip(expected, seen, strict=True):
        for number, (one, other) in enumerate(zip(wanted, given, strict=True)):
            gap = apart(one, other, 0.0)
            if not gap.equal and not _are_whole([other], np.inf):
                gap = distance(one, other, relative)  # the rewrite computes with fractions
            name = "output" if len(wanted) == 1 else f"output {number}"
            rows.append(Row(WHOLE_NUMBERS, name, gap))
    return rows


def _is_exact(callee: Callee) -> bool:
    if not operations(callee.graph) <= EXACT:
        return False
    constants = [
        tf.make_ndarray(node.get_attr("value"))
        for node in callee.graph.graph.get_operations()
        if node.type == "Const" and node.get_attr("dtype").is_floating
    ]
    captured = callee.graph.captured_inputs
    constants += [each.numpy() for each in captured if each.dtype.is_floating]
    return _are_whole(constants, np.inf)


def _are_whole(arrays: Arrays, largest: float) -> bool:
    return all(
        not is_float(array)
        or (
            (np.isfinite(array).all() and (array == np.round(array)).all())
            and np.abs(array).max(initial=0) <= largest
        )
        for array in arrays
    )


def _sums_are_exact(reference: Callee, batches: list[Arrays]) -> bool:
    # Without negative numbers, an output is as large as the sums it came from.
    for weight in reference.layer.weights:
        if is_float(weight):
            weight.assign(np.abs(weight.numpy()))
    outputs = [reference.run([np.abs(array) for array in arrays]) for arrays in batches]
    return all(_are_whole(each, LARGEST_SUM) for each in outputs)
