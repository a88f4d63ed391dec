"""The source of a layer class as a syntax tree, and what a name in it stands for.

The tree is found through the code object of a method rather than through the class, so that a
class defined in a notebook cell has a source as well.
"""

import ast
import inspect
import linecache
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LIBRARIES = ("keras", "tensorflow", "tf_keras", "builtins")
TENSOR_MODULES = {"tf", "tensorflow", "keras", "ops", "K", "layers"}
NOT_TENSORS = {"shape", "ndim", "dtype", "rank", "name"}
PLAIN_RESULTS = {"len", "isinstance", "type", "hasattr", "getattr", "range", "int"}
SEQUENCES = {"split", "unstack", "list", "zip", "enumerate", "reversed", "tuple", "sorted"}
WEIGHT_MAKERS = {"add_weight", "add_variable", "Variable"}


@dataclass(frozen=True)
class Reading:
    """Something that reading a class showed.

    Args:
        rule: the rule it falls under.
        line: where it is.
        code: what is written there.
        body: first and last line of what a loop repeats.
        steps: the lines of its statements, nested ones too; none in a comprehension.
        over: what a comprehension runs over, as written.
    """

    rule: str
    line: int
    code: str
    body: tuple[int, int] | None = None
    steps: tuple[int, ...] = ()
    over: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassSource:
    """One class of the user's, parsed.

    Args:
        name: of the class.
        path: the file its code came from, as in tracebacks.
        tree: of the whole file or cell, with its line numbers.
        node: of the class in it.
        methods: its functions by name.
        attributes: attribute name to "layers" or "weights", as ``__init__`` and ``build`` fill it.
        sizes: attribute name to the axis of the input whose size it holds.
    """

    name: str
    path: str
    tree: ast.Module
    node: ast.ClassDef
    methods: dict[str, ast.FunctionDef] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def inference_methods(self) -> Iterator[ast.FunctionDef]:
        """``call`` and the methods of the class that it reaches."""
        waiting, seen = ["call"], set()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self.methods:
                continue
            seen.add(name)
            yield self.methods[name]
            for node in ast.walk(self.methods[name]):
                attribute = own_attribute(node)
                if attribute:
                    waiting.append(attribute)


def where(path: str, line: int) -> str:
    """``file:line``, the file relative to here if it is below, a notebook cell by what it is."""
    if "ipykernel" in path or path.startswith("<ipython-input"):
        return f"notebook cell:{line}"
    here = Path.cwd()
    shown = Path(path).relative_to(here) if Path(path).is_relative_to(here) else path
    return f"{shown}:{line}"


def is_library(cls: type) -> bool:
    """Whether a class belongs to Keras, TensorFlow or Python rather than to the user."""
    return cls.__module__.split(".")[0] in LIBRARIES


def read_class(cls: type) -> list[ClassSource]:
    """The sources of a class and of the user's classes it inherits from; unreadable ones left out.

    Args:
        cls: a subclass of ``keras.Layer``.
    """
    found = [_parse(base) for base in cls.__mro__ if not is_library(base)]
    sources = [source for source in found if source is not None]
    for source in sources:  # what a base class assigns, the class inherits
        for other in sources:
            source.attributes.update(
                {k: v for k, v in other.attributes.items() if k not in source.attributes}
            )
    return sources


def unread_call(cls: type, sources: list[ClassSource]) -> type | None:
    """The user's class that defines ``call`` for this one, where its source was not read."""
    author = next(base for base in cls.__mro__ if "call" in vars(base))
    read = any("call" in source.methods for source in sources)
    return None if read or is_library(author) else author


def own_attribute(node: ast.AST) -> str | None:
    """``name`` where the node is ``self.name``."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr if node.value.id == "self" else None
    return None


def dotted(node: ast.AST) -> str:
    """``tf.nn.conv1d`` of such an expression, "" of any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def called(node: ast.AST) -> str:
    """The last part of the name of a called function: ``conv1d`` of ``tf.nn.conv1d(x)``."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else dotted(node.func)


def names_in(node: ast.AST) -> set[str]:
    """All plain names in an expression or target."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


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
    """The names in a method that hold tensors: its inputs, and what is computed from them."""
    arguments = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs][1:]
    tensors = {argument.arg for argument in arguments} - {"training", "mask", "kwargs"}
    for _ in range(2):  # twice, since a loop's later lines feed its earlier ones
        for node in ast.walk(method):
            if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and node.value:
                sequence = isinstance(node.value, (ast.List, ast.ListComp, ast.Tuple, ast.Dict))
                if (
                    sequence
                    or called(node.value) in SEQUENCES
                    or not is_tensor(node.value, tensors)
                ):
                    continue
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if own_attribute(target) is None:
                        tensors |= names_in(target) - {"self"}
            elif isinstance(node, (ast.For, ast.comprehension)) and is_tensor(node.iter, tensors):
                tensors |= names_in(node.target)
    return tensors


def _parse(cls: type) -> ClassSource | None:
    for member in vars(cls).values():
        # tf.function and decorators hide the function that was written
        function = inspect.unwrap(getattr(member, "python_function", member))
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        if code is None or function.__module__ != cls.__module__:
            continue
        text = "".join(linecache.getlines(code.co_filename))
        try:
            tree = ast.parse(text)
        except SyntaxError:  # a cell with a magic in it, or a file changed since
            return None
        for node in ast.walk(tree):
            inside = isinstance(node, ast.ClassDef) and node.name == cls.__name__
            if inside and node.lineno <= code.co_firstlineno <= (node.end_lineno or node.lineno):
                return _class_source(cls.__name__, code.co_filename, tree, node)
    return None


def _class_source(name: str, path: str, tree: ast.Module, node: ast.ClassDef) -> ClassSource:
    methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    source = ClassSource(name, path, tree, node, methods)
    for method in (methods.get("__init__"), methods.get("build")):
        for statement in ast.walk(method) if method else ():
            for attribute, value in assigned(statement):
                kind = made_of(value)
                if kind:
                    source.attributes[attribute] = kind
                axis = _input_axis(value)
                if axis is not None and method is methods.get("build"):
                    source.sizes[attribute] = axis
    return source


def assigned(statement: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """``(attribute, value)`` of each ``self.attribute = value`` and ``.append(value)``."""
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
    """Whether an expression makes "weights" or "layers", going by the names it calls."""
    for node in ast.walk(value):
        if called(node) in WEIGHT_MAKERS:
            return "weights"
    for node in ast.walk(value):
        if isinstance(node, ast.Call) and is_layer_call(node):
            return "layers"
    return None


def is_layer_call(node: ast.Call) -> bool:
    """Whether a call makes a sub-layer: ``Dense(8)``, ``keras.layers.Dense(8)``, ``MyHead()``."""
    name = called(node)
    plain = {"Input", "Variable", "SeedGenerator", "TensorSpec", "TensorShape", "InputSpec"}
    return name[:1].isupper() and not name.isupper() and name not in plain


def _input_axis(value: ast.expr) -> int | None:
    if isinstance(value, ast.Subscript) and "shape" in dotted(value.value):
        return constant_int(value.slice)
    return None


def constant_int(node: ast.AST) -> int | None:
    """The value of a whole number written in the source, also a negative one."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
