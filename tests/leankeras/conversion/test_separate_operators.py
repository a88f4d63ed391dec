import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from leankeras.conversion.separate_operators import separate
from leankeras.runtime.flatbuffer import TFLiteFile
from leankeras.runtime.litert import LiteRTModel

PLAIN = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def ready(content: bytes) -> Interpreter:
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=PLAIN)
    interpreter.allocate_tensors()
    return interpreter


@pytest.mark.parametrize("mode", ["float32", "int8"])
def test_operators_side_by_side_give_what_they_give_in_the_file(converted, samples, mode):
    file = TFLiteFile(converted[mode].path)
    whole = LiteRTModel(converted[mode].path, keep_tensors=True)
    whole(samples[:1])
    content, inputs = separate(file, range(len(file.operators)))
    apart = ready(content)
    assert len(set(inputs.values())) < len(inputs)  # one result with two readers is listed twice
    for index, stands_for in inputs.items():
        apart.set_tensor(index, whole.interpreter.get_tensor(stands_for))
    apart.invoke()
    for operator in file.operators:
        for index in operator.outputs:
            expected = whole.interpreter.get_tensor(index)
            assert np.array_equal(apart.get_tensor(index), expected)


def test_no_operator_hears_of_another(converted, samples):
    file = TFLiteFile(converted["float32"].path)
    positions = list(range(len(file.operators)))
    content, inputs = separate(file, positions)
    results = []
    for changed in (False, True):
        apart = ready(content)
        for place, (index, stands_for) in enumerate(inputs.items()):
            shape = file.tensors[stands_for].shape
            fill = 2.0 if changed and place == 0 else 1.0
            apart.set_tensor(index, np.full(shape, fill, "float32"))
        apart.invoke()
        results.append([apart.get_tensor(op.outputs[0]) for op in file.operators])
    differs = [not np.array_equal(first, second) for first, second in zip(*results, strict=True)]
    assert differs == [True] + [False] * (len(positions) - 1)


def test_a_choice_of_operators_leaves_out_the_rest(converted):
    file = TFLiteFile(converted["int8"].path)
    content, inputs = separate(file, [2])
    assert len(ready(content)._get_ops_details()) == 1
    read = [index for index in file.operators[2].inputs if not file.tensors[index].constant]
    assert sorted(inputs.values()) == sorted(read)
