"""Recognize expressions in a syntax tree: calls, tensors, creation of weights and layers."""

import ast
from collections.abc import Iterator

TENSOR_MODULES = {"tf", "tensorflow", "keras", "ops", "K", "layers"}
NOT_TENSORS = {"shape", "ndim", "dtype", "rank", "name"}
PLAIN_RESULTS = {"len", "isinstance", "type", "hasattr", "getattr", "range", "int"}
SEQUENCES = {"split", "unstack", "list", "zip", "enumerate", "reversed", "tuple", "sorted"}
WEIGHT_MAKERS = {"add_weight", "add_variable", "Variable"}
NOT_LAYERS = {"Input", "Variable", "SeedGenerator", "TensorSpec", "TensorShape", "InputSpec"}
PYTHON_CALLS = {"py_function", "numpy_function", "eager_py_func", "py_func"}


def own_attribute(node: ast.AST) -> str | None:
    """``name`` if the node is ``self.name``."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr if node.value.id == "self" else None
    return None


def dotted(node: ast.AST) -> str:
    """The dotted name of an expression, such as ``tf.nn.conv1d``, or "" for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def called(node: ast.AST) -> str:
    """The last part of the name of a called function: ``conv1d`` in ``tf.nn.conv1d(x)``."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else dotted(node.func)


def names_in(node: ast.AST) -> set[str]:
    """All plain names in an expression or target."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def constant_int(node: ast.AST) -> int | None:
    """The value of an integer literal in the source, including negative ones."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """A statement and the expressions in it, without the statements inside it."""
    yield statement
    waiting = [part for part in ast.iter_child_nodes(statement) if not isinstance(part, ast.stmt)]
    while waiting:
        node = waiting.pop(0)
        yield node
        waiting[:0] = [
            part for part in ast.iter_child_nodes(node) if not isinstance(part, ast.stmt)
        ]


def assigned(statement: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """``(attribute, value)`` for each ``self.attribute = value`` and ``.append(value)``."""
    if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            base = target.value if isinstance(target, ast.Subscript) else target
            attribute = own_attribute(base)
            if attribute:
                yield attribute, statement.value
    elif isinstance(statement, ast.Expr) and called(statement.value) == "append":
        attribute = own_attribute(statement.value.func.value)
        if attribute and statement.value.args:
            yield attribute, statement.value.args[0]


def made_of(value: ast.expr) -> str | None:
    """Whether an expression creates "weights" or "layers", judging by the names it calls."""
    for node in ast.walk(value):
        if called(node) in WEIGHT_MAKERS:
            return "weights"
    for node in ast.walk(value):
        if isinstance(node, ast.Call) and is_layer_call(node):
            return "layers"
    return None


def is_layer_call(node: ast.Call) -> bool:
    """Whether a call creates a sub-layer: ``Dense(8)``, ``keras.layers.Dense(8)``, ``MyHead()``."""
    name = called(node)
    return name[:1].isupper() and not name.isupper() and name not in NOT_LAYERS


def is_tensor(node: ast.AST, tensors: set[str]) -> bool:
    """Whether the value of an expression depends on the values of tensors, not only on shapes."""
    if isinstance(node, ast.Name):
        return node.id in tensors
    if isinstance(node, ast.Attribute) and node.attr in NOT_TENSORS:
        return False
    if isinstance(node, ast.Compare) and all(
        isinstance(operator, (ast.Is, ast.IsNot, ast.In, ast.NotIn)) for operator in node.ops
    ):
        return False
    if isinstance(node, ast.Call):
        name = dotted(node.func)
        if name in PLAIN_RESULTS or (called(node) in NOT_TENSORS and not name.startswith("tf.")):
            return False
        if name.split(".")[0] in TENSOR_MODULES and "." in name:
            return not name.split(".")[-1][0].isupper()
    return any(is_tensor(child, tensors) for child in ast.iter_child_nodes(node))


def tensor_names(method: ast.FunctionDef) -> set[str]:
    """The names in a method that hold tensors: its inputs, and values computed from them."""
    arguments = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs][1:]
    tensors = {argument.arg for argument in arguments} - {"training", "mask", "kwargs"}
    for _ in range(2):  # twice, since a loop's later lines feed its earlier ones
        for node in ast.walk(method):
            for target, value in _assignments(node):
                sequence = isinstance(value, (ast.List, ast.ListComp, ast.Tuple, ast.Dict))
                sequence = sequence or called(value) in SEQUENCES
                if not sequence and own_attribute(target) is None and is_tensor(value, tensors):
                    tensors |= names_in(target) - {"self"}
            if isinstance(node, (ast.For, ast.comprehension)) and is_tensor(node.iter, tensors):
                tensors |= names_in(node.target)
    return tensors


def _assignments(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each target with its value; ``a, b = x, y`` gives two pairs."""
    if isinstance(node, (ast.AugAssign, ast.AnnAssign)) and node.value:
        yield node.target, node.value
    for target in node.targets if isinstance(node, ast.Assign) else ():
        both = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
        if both and len(target.elts) == len(node.value.elts):
            yield from zip(target.elts, node.value.elts, strict=True)
        else:
            yield target, node.value
