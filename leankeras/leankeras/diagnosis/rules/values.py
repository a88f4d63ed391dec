"""The rules about random numbers and sizes that are written into a call."""

import ast
import math
from collections.abc import Iterator

from leankeras.diagnosis.rules.graph import draws, in_call
from leankeras.diagnosis.rules.rule import Rule, passed
from leankeras.diagnosis.source import Method, Reading
from leankeras.diagnosis.syntax import called, constant_int, is_tensor
from leankeras.diagnosis.trial import Trial

RESHAPES = {"reshape", "broadcast_to"}
MAKERS = {"zeros", "ones", "fill"}
SMALL = 16  # a smaller number may be anything: heads, groups, a factor


def _random(node: ast.AST, method: Method) -> bool:
    return draws(node) and not _heeds_training(method.node)


def _heeds_training(method: ast.FunctionDef) -> bool:
    return any(
        "training" in {part.id for part in ast.walk(node.test) if isinstance(part, ast.Name)}
        for node in ast.walk(method)
        if isinstance(node, (ast.If, ast.IfExp))
    )


def _batch(node: ast.AST, method: Method) -> bool:
    sizes = _sizes(node, method)
    if len(sizes) < 2 or sizes[0] is None:
        return False
    if called(node) in MAKERS:
        # a constant of any first size broadcasts; only one above 1 is a batch
        return sizes[0] > 1 and None in sizes[1:]
    return sizes[0] > 0


def _size(node: ast.AST, method: Method) -> bool:
    large = any(size is not None and size > SMALL for size in _sizes(node, method)[1:])
    return large and called(node) in RESHAPES and not _batch(node, method)


def _sizes(node: ast.AST, method: Method) -> list[int | None]:
    """The sizes that a call gives to a tensor, None for one that is not a number."""
    if called(node) not in RESHAPES | MAKERS:
        return []
    place = 1 if called(node) in RESHAPES else 0
    if place and node.args and not is_tensor(node.args[0], method.tensors):
        return []  # a weight, whose size belongs to the layer
    shapes = [word.value for word in node.keywords if word.arg in ("shape", "newshape")]
    shapes += node.args[place : place + 1]
    if not shapes or not isinstance(shapes[0], (ast.Tuple, ast.List)):
        return []
    return [constant_int(size) for size in shapes[0].elts]


def _is_own_size(one: Reading, trial: Trial) -> bool:
    """Whether no number in it is a size of the inputs used in the trial."""
    numbers = {constant_int(node) for node in ast.walk(ast.parse(one.code))}
    return not numbers & set(_input_sizes(trial))


def _input_sizes(trial: Trial) -> Iterator[int]:
    for shape in trial.inputs.shapes:
        for first in range(len(shape)):
            for last in range(first, len(shape)):
                yield math.prod(shape[first : last + 1])


RULES = [
    Rule(
        "random-without-training",
        "warning",
        "random numbers in call, whether training or not",
        "The deployed model gives a different answer each time, and converters freeze or refuse "
        "it.",
        "Draw only if the training argument of def call(self, x, training=False) is true; or use "
        "keras.layers.GaussianNoise or Dropout, which do that.",
        "`x + tf.random.normal(tf.shape(x))`",
        reads=in_call(_random),
        confirmed_by={"random-at-inference": ""},
        withdrawn=passed("random-at-inference"),
    ),
    Rule(
        "hard-coded-batch",
        "warning",
        "a batch size written into call",
        "Deployment runs at batch 1, training does not.",
        "Use -1 for the batch axis in a reshape, and keras.ops.shape(x)[0] elsewhere.",
        "`tf.reshape(x, (32, 8, 16))`",
        reads=in_call(_batch),
        confirmed_by={"batch-dependent": "fails|by inf", "dynamic-batch": ""},
        withdrawn=passed("batch-dependent"),
    ),
    Rule(
        "hard-coded-size",
        "info",
        "a size of the input (tokens, rows) written into call",
        "The layer fails on inputs of any other size.",
        "Use x.shape[1], or a constructor argument.",
        "`tf.reshape(x, (-1, 196, 64))`",
        reads=in_call(_size),
        withdrawn=_is_own_size,
    ),
]
