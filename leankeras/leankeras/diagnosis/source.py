"""The source of a layer class as syntax trees, and which of its methods run.

A tree is found through the code object of a method rather than through the class, so a class
defined in a notebook cell also has a source.
"""

import ast
import inspect
import linecache
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from leankeras.diagnosis.syntax import (
    PYTHON_CALLS,
    assigned,
    called,
    constant_int,
    dotted,
    expressions,
    made_of,
    own_attribute,
    tensor_names,
)

LIBRARIES = ("keras", "tensorflow", "tf_keras", "builtins")


@dataclass(frozen=True)
class ClassSource:
    """One of the user's classes, parsed.

    Args:
        name: the class's name.
        path: the file its code came from, as in tracebacks.
        tree: the tree of the whole file or cell, with its line numbers.
        node: the node of the class in it.
        methods: its functions by name.
    """

    name: str
    path: str
    tree: ast.Module
    node: ast.ClassDef
    methods: dict[str, ast.FunctionDef]


@dataclass(frozen=True)
class Method:
    """A method that runs, and the class that defines it."""

    source: ClassSource
    node: ast.FunctionDef

    @cached_property
    def tensors(self) -> set[str]:
        """The names in it that hold tensors."""
        return tensor_names(self.node)

    def parts(self) -> Iterator[tuple[ast.stmt, ast.AST]]:
        """Each statement with each expression in it, without code that runs outside the graph."""
        outside = self.outside
        waiting = list(self.node.body)
        while waiting:
            statement = waiting.pop(0)
            if statement in outside:
                continue
            for node in expressions(statement):
                if node not in outside:
                    yield statement, node
            waiting[:0] = [
                part
                for block in ("body", "orelse", "finalbody", "handlers")
                for part in getattr(statement, block, [])
                if isinstance(part, (ast.stmt, ast.ExceptHandler))
            ]

    @cached_property
    def outside(self) -> set[ast.AST]:
        """The functions passed to a py_function or numpy_function, and everything in them."""
        calls = [node for node in ast.walk(self.node) if called(node) in PYTHON_CALLS]
        handed = [node.args[0] for node in calls if node.args]
        handed += [word.value for node in calls for word in node.keywords if word.arg == "func"]
        names = {dotted(function) for function in handed}
        inner = [
            node
            for node in ast.walk(self.node)
            if isinstance(node, ast.FunctionDef) and node.name in names
        ]
        return {part for function in (*handed, *inner) for part in ast.walk(function)}


@dataclass(frozen=True)
class LayerSource:
    """A user's layer class with the user's classes that it inherits from.

    Args:
        cls: the class.
        classes: those with readable source, itself first, in Python's lookup order.
    """

    cls: type
    classes: list[ClassSource]

    def reached(self, *entries: str) -> list[Method]:
        """The methods that run when the given ones do, without those a subclass overrides."""
        waiting = [(0, name) for name in entries]
        found: dict[tuple[str, str], Method] = {}
        while waiting:
            first, name = waiting.pop(0)
            for place, source in enumerate(self.classes[first:], first):
                if name in source.methods:
                    if (source.name, name) not in found:
                        method = Method(source, source.methods[name])
                        found[source.name, name] = method
                        waiting += self._called_by(method, place)
                    break
        return list(found.values())

    def _called_by(self, method: Method, place: int) -> Iterator[tuple[int, str]]:
        """The methods that a method calls, each with the class where the lookup starts."""
        parents = {source.name for source in self.classes}
        for _, node in method.parts():
            if own_attribute(node):
                yield 0, own_attribute(node)
            elif isinstance(node, ast.Attribute) and (
                called(node.value) == "super" or dotted(node.value) in parents
            ):
                yield place + 1, node.attr

    @cached_property
    def attributes(self) -> dict[str, str]:
        """Attribute name to "layers" or "weights", according to ``__init__`` and ``build``."""
        found = {}
        for method in reversed(self.reached("__init__", "build")):
            for statement in ast.walk(method.node):
                for attribute, value in assigned(statement):
                    kind = made_of(value)
                    if kind:
                        found[attribute] = kind
        return found

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Attribute name to the axis of the input whose size ``build`` keeps in it."""
        found = {}
        for method in self.reached("build"):
            shapes = {argument.arg for argument in method.node.args.args[1:]}
            for statement in ast.walk(method.node):
                for attribute, value in assigned(statement):
                    if isinstance(value, ast.Subscript) and dotted(value.value) in shapes:
                        axis = constant_int(value.slice)
                        if axis is not None:
                            found[attribute] = axis
        return found


@dataclass(frozen=True)
class Reading:
    """Something found by reading a class.

    Args:
        path: the file.
        line: its line.
        code: the code there.
        subject: what it concerns, such as an attribute; readings on one subject are one finding.
        span: first and last line of its statement; for a block, of its header.
        in_call: whether it concerns code that runs at inference.
    """

    path: str
    line: int
    code: str
    subject: str
    span: tuple[int, int]
    in_call: bool = False


def reading(
    source: ClassSource,
    statement: ast.stmt,
    node: ast.AST,
    subject: str = "",
    in_call: bool = True,
) -> Reading:
    """The reading of a node of a class; the default subject is the code itself."""
    code = ast.unparse(node)
    body = getattr(statement, "body", None)
    last = body[0].lineno - 1 if body else statement.end_lineno
    span = (statement.lineno, max(last, statement.lineno))
    return Reading(source.path, node.lineno, code, subject or code, span, in_call)


def where(path: str, line: int) -> str:
    """``file:line``, the file relative to the working directory if inside it, or a notebook cell.

    Without a line there is no file, and the path is returned as it is.
    """
    if not line:
        return path
    if "ipykernel" in path or path.startswith("<ipython-input"):
        return f"notebook cell:{line}"
    here = Path.cwd()
    shown = Path(path).relative_to(here) if Path(path).is_relative_to(here) else path
    return f"{shown}:{line}"


def is_library(cls: type) -> bool:
    """Whether a class belongs to Keras, TensorFlow or Python rather than to the user."""
    return cls.__module__.split(".")[0] in LIBRARIES


def read_class(cls: type) -> LayerSource:
    """The readable sources of a class and of the user's classes it inherits from.

    Args:
        cls: a subclass of ``keras.Layer``.
    """
    found = [_parse(base) for base in cls.__mro__ if not is_library(base)]
    return LayerSource(cls, [source for source in found if source is not None])


def unread_call(layer: LayerSource) -> type | None:
    """The user's class that defines ``call`` for this one, if its source could not be read."""
    author = next(base for base in layer.cls.__mro__ if "call" in vars(base))
    read = any("call" in source.methods for source in layer.classes)
    return None if read or is_library(author) else author


def _parse(cls: type) -> ClassSource | None:
    for member in vars(cls).values():
        # tf.function and decorators hide the original function
        function = inspect.unwrap(getattr(member, "python_function", member))
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        if code is None or function.__module__ != cls.__module__:
            continue
        text = "".join(linecache.getlines(code.co_filename))
        try:
            tree = ast.parse(text)
        except SyntaxError:  # a cell with a magic command, or a file changed since
            return None
        for node in ast.walk(tree):
            inside = isinstance(node, ast.ClassDef) and node.name == cls.__name__
            if inside and node.lineno <= code.co_firstlineno <= (node.end_lineno or node.lineno):
                methods = {
                    part.name: part for part in node.body if isinstance(part, ast.FunctionDef)
                }
                return ClassSource(cls.__name__, code.co_filename, tree, node, methods)
    return None
