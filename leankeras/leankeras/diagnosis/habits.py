"""What reading a layer's source shows beside its loops: state, randomness, sizes, NumPy."""

import ast
from collections.abc import Iterator

from leankeras.diagnosis.code import (
    ClassSource,
    Reading,
    assigned,
    called,
    constant_int,
    dotted,
    is_layer_call,
    is_tensor,
    made_of,
    own_attribute,
    tensor_names,
)

PRIVATE = ("tensorflow.python", "keras.src", "keras._", "tf_keras.src", "tensorflow.core")
PYTHON_CALLS = {"py_function", "numpy_function", "eager_py_func"}
RANDOM_DRAWS = {
    "normal", "uniform", "truncated_normal", "randn", "rand", "random", "randint", "shuffle",
    "categorical", "dropout", "bernoulli", "gamma", "poisson", "choice", "permutation",
    "random_uniform", "random_normal", "standard_normal", "binomial", "beta",
}  # fmt: skip
NUMPY_OF_SHAPES = {"prod", "sqrt", "log", "log2", "ceil", "floor", "arange", "float32", "int32"}
SHAPING = {"reshape", "broadcast_to", "zeros", "ones", "fill", "random", "tile"}
IN_PLACE = {"append", "extend", "update", "pop", "insert", "clear", "add", "remove"}


def read_habits(source: ClassSource) -> Iterator[Reading]:
    """Everything but loops that a class's source shows."""
    yield from _imports(source)
    yield from _attributes(source)
    yield from _config(source)
    for method in source.inference_methods():
        tensors = tensor_names(method)
        heeds_training = _heeds_training(method)
        for node in ast.walk(method):
            yield from _state(node)
            yield from _control_flow(node, tensors)
            if isinstance(node, ast.Call):
                yield from _call(node, tensors, heeds_training)


def _imports(source: ClassSource) -> Iterator[Reading]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute) and dotted(node) in ("tf.python", "keras.src"):
            modules = [dotted(node).replace("tf.", "tensorflow.")]
        else:
            continue
        if any(module.startswith(PRIVATE) for module in modules):
            yield Reading("private-import", node.lineno, ast.unparse(node))


def _attributes(source: ClassSource) -> Iterator[Reading]:
    made: dict[str, set[str]] = {"__init__": set(), "build": set()}
    for name in made:
        for node in ast.walk(source.methods[name]) if name in source.methods else ():
            for attribute, value in assigned(node):
                if made_of(value) and called(node.value) != "append":
                    made[name].add(attribute)
                    if name == "build" and attribute in made["__init__"]:
                        yield Reading("created-again", node.lineno, ast.unparse(node))
                for part in ast.walk(value):
                    if called(part) == "Variable" and not dotted(part.func).startswith("keras."):
                        yield Reading("tf-variable", node.lineno, ast.unparse(node))
                    elif _draws(part) and not _seeded(part) and not made_of(value):
                        yield Reading("random-attribute", node.lineno, ast.unparse(node))


def _config(source: ClassSource) -> Iterator[Reading]:
    """Constructor arguments that a get_config of the class's own does not mention."""
    config, constructor = source.methods.get("get_config"), source.methods.get("__init__")
    if config is None or constructor is None:
        return
    words = {node.value for node in ast.walk(config) if isinstance(node, ast.Constant)}
    words |= {word.arg for node in ast.walk(config) for word in getattr(node, "keywords", ())}
    arguments = [*constructor.args.args, *constructor.args.kwonlyargs][1:]
    base = {"name", "dtype", "trainable"}
    for argument in arguments:
        if argument.arg not in words | base and "__dict__" not in ast.unparse(config):
            yield Reading("lost-argument", config.lineno, argument.arg)


def _state(node: ast.AST) -> Iterator[Reading]:
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            base = target.value if isinstance(target, ast.Subscript) else target
            creates = node.value is not None and made_of(node.value)
            if own_attribute(base) and not creates:
                yield Reading("state-in-call", node.lineno, ast.unparse(node))
    elif isinstance(node, ast.Expr) and called(node.value) in IN_PLACE:
        holder = node.value.func
        if isinstance(holder, ast.Attribute) and own_attribute(holder.value):
            yield Reading("state-in-call", node.lineno, ast.unparse(node))


def _control_flow(node: ast.AST, tensors: set[str]) -> Iterator[Reading]:
    if isinstance(node, (ast.If, ast.While, ast.IfExp)) and _decides_on(node.test, tensors):
        yield Reading("control-flow-on-tensor", node.lineno, ast.unparse(node.test))
    elif isinstance(node, ast.For) and not _is_plain_iterable(node.iter):
        over_tensor = isinstance(node.iter, ast.Name) and node.iter.id in tensors
        if over_tensor or dotted(getattr(node.iter, "func", node)) == "tf.range":
            yield Reading("control-flow-on-tensor", node.lineno, ast.unparse(node.iter))


def _decides_on(test: ast.expr, tensors: set[str]) -> bool:
    if isinstance(test, ast.BoolOp):
        return any(_decides_on(value, tensors) for value in test.values)
    # `if mask` and `if x.shape[0] == 1` ask Python; a comparison or a reduction asks the tensor.
    return not isinstance(test, ast.Name) and is_tensor(test, tensors)


def _is_plain_iterable(iterable: ast.expr) -> bool:
    return called(iterable) in ("range", "enumerate", "zip") and not dotted(
        iterable.func
    ).startswith("tf.")


def _call(node: ast.Call, tensors: set[str], heeds_training: bool) -> Iterator[Reading]:
    name, last = dotted(node.func), called(node)
    code = ast.unparse(node)
    arguments = [*node.args, *(word.value for word in node.keywords)]
    on_tensor = any(is_tensor(argument, tensors) for argument in arguments)
    if last in PYTHON_CALLS:
        yield Reading("python-in-graph", node.lineno, code)
    elif name.startswith(("np.", "numpy.")) and not _draws(node):
        if on_tensor and last not in NUMPY_OF_SHAPES:
            yield Reading("numpy-in-call", node.lineno, code)
    elif last == "numpy" and isinstance(node.func, ast.Attribute) and not node.args:
        yield Reading("numpy-in-call", node.lineno, code)
    elif last in ("add_weight", "add_variable") or name == "tf.Variable" or _makes_layer(node):
        yield Reading("created-in-call", node.lineno, code)
    elif _draws(node) and not heeds_training:
        yield Reading("random-without-training", node.lineno, code)
    if last in SHAPING:
        yield from _sizes(node, last, code)


def _makes_layer(node: ast.Call) -> bool:
    # Dense(8)(x), or a class that is plainly Keras's
    if isinstance(node.func, ast.Call):
        return is_layer_call(node.func)
    return is_layer_call(node) and dotted(node.func).split(".")[-2:-1] == ["layers"]


def _sizes(node: ast.Call, last: str, code: str) -> Iterator[Reading]:
    place = 1 if last in ("reshape", "broadcast_to") else 0
    shapes = [word.value for word in node.keywords if word.arg in ("shape", "newshape")]
    shapes += node.args[place : place + 1]
    if not shapes or not isinstance(shapes[0], (ast.Tuple, ast.List)) or last == "tile":
        return
    sizes = [constant_int(size) for size in shapes[0].elts]
    if last in ("zeros", "ones", "fill"):
        # a constant of any first size broadcasts; only one above 1 is a batch
        if len(sizes) > 1 and (sizes[0] or 0) > 1 and None in sizes[1:]:
            yield Reading("hard-coded-batch", node.lineno, code)
    elif len(sizes) > 1 and sizes[0] is not None and sizes[0] > 0:
        yield Reading("hard-coded-batch", node.lineno, code)
    elif any(size is not None and size > 16 for size in sizes[1:]):
        yield Reading("hard-coded-size", node.lineno, code)


def _draws(node: ast.AST) -> bool:
    if called(node) not in RANDOM_DRAWS:
        return False
    before = ast.unparse(node.func).rpartition(".")[0]
    return "random" in before or called(node).startswith("random_") or before == "tf.nn"


def _seeded(node: ast.Call) -> bool:
    generators = [part for part in ast.walk(node.func) if isinstance(part, ast.Call)]
    return any(generator.args for generator in generators) or any(
        word.arg == "seed" and constant_int(word.value) is not None for word in node.keywords
    )


def _heeds_training(method: ast.FunctionDef) -> bool:
    """Whether a method asks its training argument before anything else can happen."""
    return any(
        "training" in {part.id for part in ast.walk(node.test) if isinstance(part, ast.Name)}
        for node in ast.walk(method)
        if isinstance(node, (ast.If, ast.IfExp))
    )
