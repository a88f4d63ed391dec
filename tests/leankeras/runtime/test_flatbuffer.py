import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from leankeras.runtime.flatbuffer import TFLiteFile, is_within, layer_of


def test_the_file_is_what_litert_says(converted):
    for conversion in converted.values():
        file = TFLiteFile(conversion.path)
        interpreter = Interpreter(model_path=str(conversion.path))
        details = interpreter.get_tensor_details()
        assert [t.name for t in file.tensors] == [d["name"] for d in details][: len(file.tensors)]
        for tensor, entry in zip(file.tensors, details, strict=False):
            assert tensor.type == np.dtype(entry["dtype"]).name
            assert np.allclose(tensor.scales, entry["quantization_parameters"]["scales"])
        operators = [entry["op_name"] for entry in interpreter._get_ops_details()]
        assert [op.kind for op in file.operators] == operators[: len(file.operators)]
        assert list(file.inputs) == ["x"]
        assert list(file.outputs) == ["output"]


@pytest.mark.parametrize(
    ("name", "layers", "layer"),
    [
        ("net/stem/Relu;net/stem/convolution", {"net", "net/stem"}, "stem"),
        ("net/dense_1/MatMul", {"net", "net/dense", "net/dense_1"}, "dense_1"),
        ("net/block/dense/MatMul", {"net", "net/block", "net/block/dense"}, "block/dense"),
        ("other/thing;net/stem/Relu", {"net", "net/stem"}, "stem"),
        ("net/add", {"net", "net/stem"}, ""),
        ("model/quant_conv/Relu", (), "quant_conv"),
        ("StatefulPartitionedCall:0", (), ""),
    ],
)
def test_layer_of_a_tensor(name, layers, layer):
    assert layer_of(name, layers) == layer


def test_within_means_the_layer_or_inside_it():
    assert is_within("block/dense", ["block"])
    assert is_within("block", ["block"])
    assert not is_within("block_1", ["block"])
