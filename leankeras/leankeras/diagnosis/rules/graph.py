"""The rules about Python code in a call that a graph cannot represent."""

import ast
import re
from collections.abc import Callable, Iterator

from leankeras.diagnosis.rules.rule import Reader, Rule, passed
from leankeras.diagnosis.source import LayerSource, Method, Reading, reading
from leankeras.diagnosis.syntax import (
    PYTHON_CALLS,
    called,
    dotted,
    is_layer_call,
    is_tensor,
    made_of,
    own_attribute,
)
from leankeras.diagnosis.trial import Trial

RANDOM_DRAWS = {
    "normal", "uniform", "truncated_normal", "randn", "rand", "random", "randint", "shuffle",
    "categorical", "dropout", "bernoulli", "gamma", "poisson", "choice", "permutation",
    "random_uniform", "random_normal", "standard_normal", "binomial", "beta",
}  # fmt: skip
NUMPY_OF_SHAPES = {"prod", "sqrt", "log", "log2", "ceil", "floor", "arange", "float32", "int32"}
IN_PLACE = {"append", "extend", "update", "pop", "insert", "clear", "add", "remove"}
EMPTY = {"list", "dict", "set", "deque", "defaultdict", "OrderedDict"}
DYNAMIC = {"map_fn", "scan", "associative_scan", "while_loop", "fori_loop", "foldl", "foldr"}
WHILE = {"While", "StatelessWhile"}
# Layers without state, not even the seed of a Dropout: it does not matter where they are created.
WEIGHTLESS = re.compile(
    r"(Leaky|Thresholded)?ReLU|ELU|Softmax|Activation|Lambda|Identity|Reshape|Flatten|Permute|"
    r"RepeatVector|Masking|Rescaling|Resizing|Add|Subtract|Multiply|Average|Maximum|Minimum|Dot|"
    r"Concatenate|UnitNormalization|(UpSampling|ZeroPadding|Cropping)\dD|\w+Pooling\dD"
)


def in_call(matches: Callable[[ast.AST, Method], bool]) -> Reader:
    """A reader of every expression and statement that runs in ``call`` and methods it calls."""

    def read(layer: LayerSource) -> Iterator[Reading]:
        for method in layer.reached("call"):
            for statement, node in method.parts():
                if matches(node, method):
                    yield reading(method.source, statement, node)

    return read


def draws(node: ast.AST) -> bool:
    """Whether a call draws random numbers."""
    if called(node) not in RANDOM_DRAWS:
        return False
    before = ast.unparse(node.func).rpartition(".")[0]
    return "random" in before or called(node).startswith("random_") or before == "tf.nn"


def _numpy(node: ast.AST, method: Method) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if called(node) == "numpy" and isinstance(node.func, ast.Attribute):
        return not node.args
    if not dotted(node.func).startswith(("np.", "numpy.")) or draws(node):
        return False
    arguments = [*node.args, *(word.value for word in node.keywords)]
    on_tensor = any(is_tensor(argument, method.tensors) for argument in arguments)
    return on_tensor and called(node) not in NUMPY_OF_SHAPES


def _decisions(layer: LayerSource) -> Iterator[Reading]:
    """The places where Python branches or loops on the value of a tensor."""
    for method in layer.reached("call"):
        for statement, node in method.parts():
            if isinstance(node, (ast.If, ast.While, ast.IfExp)):
                if _decides_on(node.test, method.tensors):
                    yield reading(method.source, statement, node.test)
            elif isinstance(node, ast.For) and not _is_plain_iterable(node.iter):
                over_tensor = isinstance(node.iter, ast.Name) and node.iter.id in method.tensors
                if over_tensor or dotted(getattr(node.iter, "func", node)) == "tf.range":
                    yield reading(method.source, statement, node.iter)


def _decides_on(test: ast.expr, tensors: set[str]) -> bool:
    if isinstance(test, ast.BoolOp):
        return any(_decides_on(value, tensors) for value in test.values)
    # `if mask` and `if x.shape[0] == 1` test Python values; comparisons and reductions, the tensor.
    return not isinstance(test, ast.Name) and is_tensor(test, tensors)


def _is_plain_iterable(iterable: ast.expr) -> bool:
    plain = called(iterable) in ("range", "enumerate", "zip")
    return plain and not dotted(iterable.func).startswith("tf.")


def _state(layer: LayerSource) -> Iterator[Reading]:
    """The places where an attribute is changed, unless each call resets it first."""
    changes = [
        (attribute, method, statement)
        for method in layer.reached("call")
        for statement, node in method.parts()
        if node is statement
        for attribute in _changed(statement)
    ]
    renewed = {
        attribute
        for attribute, method, statement in changes
        if _makes_empty(statement) and statement in method.node.body  # that is, in each call
    }
    for attribute, method, statement in changes:
        if attribute not in renewed:
            yield reading(method.source, statement, statement, subject=f"self.{attribute}")


def _changed(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            for part in target.elts if isinstance(target, ast.Tuple) else [target]:
                base = part.value if isinstance(part, ast.Subscript) else part
                creates = statement.value is not None and made_of(statement.value)
                if own_attribute(base) and not creates:
                    yield own_attribute(base)
    elif isinstance(statement, ast.Expr) and called(statement.value) in IN_PLACE:
        holder = statement.value.func
        if isinstance(holder, ast.Attribute) and own_attribute(holder.value):
            yield own_attribute(holder.value)


def _makes_empty(statement: ast.stmt) -> bool:
    """Whether a statement sets an attribute to an empty or new list or dict, which is harmless."""
    if isinstance(statement, ast.Expr):
        return called(statement.value) == "clear"
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None:
        return False
    tuple_of = isinstance(statement.value, ast.Tuple)
    values = statement.value.elts if tuple_of else [statement.value]
    return any(
        isinstance(value, (ast.List, ast.Dict, ast.Set)) or called(value) in EMPTY
        for value in values
    )


def _creations(layer: LayerSource) -> Iterator[Reading]:
    """The places where weights and sub-layers are created."""
    for method in layer.reached("call"):
        for statement, node in method.parts():
            if isinstance(node, ast.Call):
                made = _made(node)
                if made:
                    yield reading(method.source, statement, made)


def _made(node: ast.Call) -> ast.Call | None:
    """The call that creates something: ``Dense(8)`` in ``Dense(8)(x)``."""
    if called(node) in ("add_weight", "add_variable") or dotted(node.func) == "tf.Variable":
        return node
    made = node.func if isinstance(node.func, ast.Call) else node
    # called immediately, or of a class that is clearly Keras's
    plainly = made is not node or dotted(node.func).split(".")[-2:-1] == ["layers"]
    weightless = WEIGHTLESS.fullmatch(called(made))
    return made if plainly and is_layer_call(made) and not weightless else None


def _no_while(one: Reading, trial: Trial) -> bool:
    """Whether the graph has no While operator that comes from this line."""
    return "graph-fails" in trial.passed and not any(
        operation.type in WHILE and (one.path, one.line) in places
        for operation, places in zip(trial.graph.get_operations(), trial.places, strict=True)
    )


RULES = [
    Rule(
        "dynamic-loop",
        "warning",
        "a map_fn, scan, while_loop or fori_loop",
        "It becomes a While operator, which runs one step at a time and whose body the converter "
        "cannot fuse; in TFLite it often needs operators that are not built in.",
        "If the steps are independent, use a batched operation or keras.ops.vectorized_map; if "
        "not, a Python loop over a fixed number of steps.",
        "`tf.map_fn(self.one_sample, x)`",
        reads=in_call(lambda node, _: called(node) in DYNAMIC),
        confirmed_by={"tflite-fails": "While|TensorList|loop|TensorArray"},
        withdrawn=_no_while,
    ),
    Rule(
        "python-in-graph",
        "error",
        "a py_function or numpy_function",
        "It calls back into this Python process: it cannot be saved, converted or run elsewhere.",
        "Write it with keras.ops, or move it in front of the model.",
        "`tf.numpy_function(self.filter, [x], tf.float32)`",
        reads=in_call(lambda node, _: called(node) in PYTHON_CALLS),
        confirmed_by={"savedmodel-fails": "", "tflite-fails": "Py", "graph-differs": ""},
    ),
    Rule(
        "numpy-in-call",
        "warning",
        "NumPy applied to a tensor in call",
        "NumPy needs values, which a graph does not have: tracing fails, or freezes the values "
        "seen at that time.",
        "Use the function of the same name in keras.ops: keras.ops.maximum for np.maximum.",
        "`np.maximum(x, 0)`",
        reads=in_call(_numpy),
        confirmed_by={"graph-fails": "", "graph-differs": "", "savedmodel-fails": ""},
        withdrawn=passed("graph-differs"),
    ),
    Rule(
        "control-flow-on-tensor",
        "warning",
        "a Python if, while or for on the value of a tensor",
        "Python decides once, while the graph is traced, and has no value to decide by: Keras "
        "does not convert call with AutoGraph.",
        "Use keras.ops.where(condition, a, b), or keras.ops.cond for costly branches; for a loop, "
        "one operation over the axis.",
        "`if keras.ops.max(x) > 1: x = x / 255`",
        reads=_decisions,
        confirmed_by={"graph-fails": ""},
        withdrawn=passed("graph-fails"),
    ),
    Rule(
        "state-in-call",
        "warning",
        "Python state changed in call",
        "Python runs once, while the graph is traced: the change is frozen, or the attribute "
        "keeps a tensor of a graph that is gone.",
        "Return it, or keep it in a weight: self.add_weight(trainable=False) and assign.",
        "`self.calls += 1`",
        reads=_state,
        confirmed_by={
            "random-at-inference": "",
            "graph-fails": "",
            "graph-differs": "",
            "savedmodel-fails": "",
        },
        withdrawn=lambda one, trial: one.subject in trial.settled,
    ),
    Rule(
        "created-in-call",
        "error",
        "weights or sub-layers created in call",
        "Each call makes new ones, which are neither trained nor saved, and tracing fails.",
        "Create sub-layers in __init__ and weights in build.",
        "`return keras.layers.Dense(8)(x)`",
        reads=_creations,
        confirmed_by={"random-at-inference": "", "graph-fails": "", "reload-differs": ""},
        withdrawn=passed("random-at-inference", "graph-fails", "graph-differs", "reload-differs"),
    ),
]
