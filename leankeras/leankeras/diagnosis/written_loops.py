"""What a loop runs over, judging by its source: a guess for layers that are only read.

For a traced layer, :mod:`leankeras.diagnosis.traced_loops` knows.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from leankeras.diagnosis.source import LayerSource, Method
from leankeras.diagnosis.syntax import (
    called,
    constant_int,
    dotted,
    is_tensor,
    names_in,
    own_attribute,
)

Comprehension = ast.ListComp | ast.GeneratorExp | ast.SetComp


@dataclass(frozen=True)
class Scope:
    """The meaning of the names in one method."""

    layer: LayerSource
    tensors: set[str]
    sizes: dict[str, int]  # name of an integer: the axis of the input whose size it is
    parts: dict[str, str | int]  # name of a list of tensors: "groups", or the axis it was cut along
    ranks: dict[str, int]


@dataclass(frozen=True)
class _Use:
    """A place where a loop variable is used as an index."""

    of: ast.expr
    axis: int
    index: ast.expr


def scope_of(layer: LayerSource, method: Method) -> Scope:
    """The meaning of the names in a method."""
    scope = Scope(layer, method.tensors, {}, {}, {})
    for node in ast.walk(method.node):
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            axis = _size_of_axis(value, scope)
            if isinstance(target, ast.Name) and axis is not None:
                scope.sizes[target.id] = axis
            elif isinstance(target, ast.Name) and called(value) in ("split", "unstack"):
                scope.parts[target.id] = _cut(value)
            elif isinstance(target, ast.Tuple) and _shape_of(value):
                names = [ast.unparse(part) for part in target.elts]
                scope.ranks[_shape_of(value)] = len(names)
                last = len(names) - 1
                scope.sizes.update({n: -1 if i == last else i for i, n in enumerate(names)})
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
            name, rank = ast.unparse(node.value), len(node.slice.elts)
            if rank >= 3 and not _has_ellipsis(node.slice.elts):
                scope.ranks[name] = max(rank, scope.ranks.get(name, 0))
    return scope


def guess(loop: ast.For | Comprehension, scope: Scope, method: ast.FunctionDef) -> str | None:
    """What a loop seems to run over, as named by a rule about loops; None for no fault."""
    if isinstance(loop, ast.For):
        iterables, targets, body = [loop.iter], names_in(loop.target), loop.body
        carried = _carried(loop, method)
    else:
        iterables = [generator.iter for generator in loop.generators]
        targets = set().union(*(names_in(generator.target) for generator in loop.generators))
        body, carried = [loop.elt], False
    if all(_shape_of(getattr(part, "value", part)) or _shape_of(part) for part in iterables):
        return None  # arithmetic with sizes
    if any(dotted(getattr(part, "func", part)) == "tf.range" for part in iterables):
        return None  # it does not run at all, which another rule reports
    work = any(is_tensor(node, scope.tensors | targets) for node in body)
    if not work or not _computes(body):
        return None
    iterables = [part for iterable in iterables for part in _unwrapped(iterable)]
    made_of = scope.layer.attributes
    walked = {made_of.get(own_attribute(part) or "") for part in iterables} - {None}
    indexed = {made_of.get(own_attribute(use.of) or "") for use in _uses(body, targets)} - {None}
    fed = _fed_to_layers(body, targets) if "layers" in walked | indexed else body
    axes = [_axis_of_iterable(part, scope) for part in iterables]
    axes += [_axis_of_use(use, scope) for use in _uses(fed, targets) if not own_attribute(use.of)]
    axes = [axis for axis in axes if axis is not None]
    if carried:
        # otherwise it may be a stack of layers, each fed by the previous one, which is not a fault
        return "recurrence" if axes else None
    tensors = scope.tensors - targets
    if any(_is_at_tensor(node, tensors) for part in body for node in ast.walk(part)):
        return "regions"
    if "groups" in axes:
        return "groups"
    if -1 in axes:
        return "channels"
    if walked or "layers" in indexed or (indexed and not axes):
        if walked | indexed == {"weights"}:
            return "filters" if _calls(body, "conv") else _product(body)
        return "branches"
    if 0 in axes:
        return "batch"
    if "positions" in axes or len(set(axes)) > 1 or (axes and _has_inner_range(loop)):
        return "positions"
    return "timesteps" if axes else "python-loop"


def _is_at_tensor(node: ast.AST, tensors: set[str]) -> bool:
    """Whether a part is taken at a position given by the values of a tensor."""
    return isinstance(node, ast.Slice) and any(
        is_tensor(bound, tensors) for bound in (node.lower, node.upper) if bound
    )


def _carried(loop: ast.For, method: ast.FunctionDef) -> bool:
    """Whether a step reads what the previous step assigned; sums over the steps do not count."""
    known = {argument.arg for argument in method.args.args}
    for node in ast.walk(method):
        if isinstance(node, ast.Assign) and node.lineno < loop.lineno:
            known |= _stored(node)
    read: set[str] = set()
    for statement in loop.body:
        for node in ast.walk(statement):
            if not isinstance(node, ast.Assign):
                continue
            own = _stored(node) & known
            if own & read or (own & names_in(node.value) and not _is_sum(node, own)):
                return True
        loaded = names_in(statement) - _stored_in(statement)
        read |= loaded & known
        known -= _stored_in(statement)  # reassigned in this step, whatever is read later
    return False


def _stored(node: ast.Assign) -> set[str]:
    return {name for target in node.targets for name in names_in(target)} - {"self"}


def _stored_in(statement: ast.stmt) -> set[str]:
    assigns = [node for node in ast.walk(statement) if isinstance(node, ast.Assign)]
    return {name for node in assigns for name in _stored(node)}


def _is_sum(node: ast.Assign, names: set[str]) -> bool:
    value = node.value
    sides = []
    if isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Add, ast.Mult)):
        sides = [value.left, value.right]
    elif called(value) in ("maximum", "minimum", "add", "multiply") and len(value.args) == 2:
        sides = value.args
    alone = [side for side in sides if isinstance(side, ast.Name) and side.id in names]
    return len(alone) == 1 and not any(
        names & names_in(side) for side in sides if side is not alone[0]
    )


def _computes(body: list[ast.AST]) -> bool:
    """Whether it contains an operation other than taking parts and collecting them."""
    collecting = {"append", "range", "len", "zip", "enumerate"}
    return any(
        (isinstance(node, ast.Call) and called(node) not in collecting)
        or isinstance(node, (ast.BinOp, ast.Subscript))
        for part in body
        for node in ast.walk(part)
    )


def _calls(body: list[ast.AST], word: str) -> bool:
    return any(word in called(node).lower() for part in body for node in ast.walk(part))


def _product(body: list[ast.AST]) -> str:
    """The rule for a loop over weights: only products can become one projection."""
    operators = (isinstance(n, ast.MatMult) for part in body for n in ast.walk(part))
    multiplies = any(_calls(body, word) for word in ("matmul", "dot", "einsum"))
    return "branches" if multiplies or any(operators) else "python-loop"


def _unwrapped(iterable: ast.expr) -> list[ast.expr]:
    if called(iterable) in ("zip", "enumerate", "reversed"):
        return [part for argument in iterable.args for part in _unwrapped(argument)]
    if called(iterable) == "range" and called(iterable.args[-1]) == "len":
        return iterable.args[-1].args
    return [iterable]


def _uses(body: list[ast.AST], targets: set[str]) -> Iterator[_Use]:
    """Each place where a loop variable is used as an index."""
    for part in body:
        for node in ast.walk(part):
            if isinstance(node, ast.Subscript):
                elements = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                for place, element in enumerate(elements):
                    if names_in(element) & targets:
                        from_end = _has_ellipsis(elements[:place])
                        axis = place - len(elements) if from_end else place
                        yield _Use(node.value, axis, element)
            elif called(node) in ("gather", "take") and len(node.args) > 1:
                axes = [constant_int(word.value) for word in node.keywords if word.arg == "axis"]
                if names_in(node.args[1]) & targets and axes and axes[0] is not None:
                    yield _Use(node.args[0], axes[0], node.args[1])


def _fed_to_layers(body: list[ast.AST], targets: set[str]) -> list[ast.AST]:
    """The arguments of the sub-layers that the loop calls: only they show what each is fed."""
    calls = [
        node
        for part in body
        for node in ast.walk(part)
        if isinstance(node, ast.Call) and names_in(node.func) & targets
    ]
    return [argument for call in calls for argument in call.args]


def _axis_of_use(use: _Use, scope: Scope) -> int | str | None:
    name = ast.unparse(use.of)
    if not is_tensor(use.of, scope.tensors):
        return scope.parts.get(name)
    rank = scope.ranks.get(name)
    last = use.axis == -1 or (rank is not None and use.axis == rank - 1)
    if last and isinstance(use.index, ast.Slice) and use.index.lower is not None:
        multiplied = any(isinstance(node, ast.Mult) for node in ast.walk(use.index.lower))
        return "groups" if multiplied else -1
    if last:
        return -1
    return "positions" if rank == 4 and use.axis in (1, 2) else use.axis


def _axis_of_iterable(iterable: ast.expr, scope: Scope) -> int | str | None:
    if called(iterable) == "range" and iterable.args:
        return _size_of_axis(iterable.args[0 if len(iterable.args) == 1 else 1], scope)
    if called(iterable) in ("split", "unstack"):
        return _cut(iterable)
    if isinstance(iterable, ast.Name) and iterable.id in scope.parts:
        return scope.parts[iterable.id]
    return 0 if is_tensor(iterable, scope.tensors) else None


def _size_of_axis(value: ast.expr, scope: Scope) -> int | None:
    if isinstance(value, ast.Name):
        return scope.sizes.get(value.id)
    if own_attribute(value):
        return scope.layer.sizes.get(own_attribute(value))
    if isinstance(value, ast.Subscript) and _shape_of(value.value):
        of_weight = _shape_of(value.value).startswith("self.")
        return None if of_weight else constant_int(value.slice)
    if called(value) == "len" and is_tensor(value.args[0], scope.tensors):
        return 0
    if called(value) == "int" and value.args:
        return _size_of_axis(value.args[0], scope)
    return None


def _shape_of(value: ast.expr) -> str:
    """``x`` if the expression is the shape of x, else ""."""
    if isinstance(value, ast.Attribute) and value.attr == "shape":
        return ast.unparse(value.value)
    if called(value) == "shape" and value.args:
        return ast.unparse(value.args[0])
    if called(value) == "as_list":
        return _shape_of(value.func.value)
    return ""


def _cut(call: ast.Call) -> int | str:
    axes = [constant_int(word.value) for word in call.keywords if word.arg == "axis"]
    axes += [constant_int(argument) for argument in call.args[2:3]]
    axis = axes[0] if axes and axes[0] is not None else 0
    return "groups" if called(call) == "split" and axis in (-1, 2, 3) else axis


def _has_inner_range(loop: ast.For | Comprehension) -> bool:
    return any(
        isinstance(node, ast.For) and node is not loop and called(node.iter) == "range"
        for node in ast.walk(loop)
    )


def _has_ellipsis(elements: list[ast.expr]) -> bool:
    return any(isinstance(e, ast.Constant) and e.value is Ellipsis for e in elements)
