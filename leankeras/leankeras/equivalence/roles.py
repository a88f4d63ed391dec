"""The role of an input: numbers, a mask, indices, lengths, an adjacency or boxes.

Random numbers as a mask, or as the corners of boxes, show little: a softmax over scores minus a
billion times a random number is one-hot, whatever the scores are. The role follows from the user's
samples if given, otherwise from the input's name and data type and its use in the traced
reference.
"""

import ast
import inspect
import re
import textwrap
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from leankeras.equivalence.calling import Callee
from leankeras.equivalence.usage import Usage
from leankeras.graph import input_name, is_graph

NUMBERS, MASK, INDICES, LENGTHS = "numbers", "mask", "indices", "lengths"
ADJACENCY, BOXES = "adjacency", "boxes"
DISCRETE = {MASK, INDICES, LENGTHS}
WORDS = {
    MASK: {"mask", "masks", "padding", "valid", "visible", "observed", "keep"},
    ADJACENCY: {"adj", "adjacency", "adjacencies", "graph", "edges"},
    BOXES: {"box", "boxes", "bbox", "bboxes", "roi", "rois", "anchor", "anchors", "proposals"},
    LENGTHS: {"length", "lengths", "len", "lens"},
}
SOME = 8  # whole numbers to try if the range is not known


@dataclass(frozen=True)
class Role:
    """The role of one input, and the values to try.

    Args:
        name: the input's name.
        kind: its presumed kind.
        shape: the shape of one sample.
        dtype: the dtype of its values.
        limit: indices are below it; lengths go up to it.
        also: other kinds to try it as.
        doubtful: whether it may be of a kind for which arbitrary numbers make no sense, so that a
            difference on numbers does not prove a rewrite wrong.
        penalized: the value of a mask that is turned into "minus infinity", which leaves only
            rounding if everything is masked; None if there is no such value.
        rows: the user's samples of it, if its values are taken from them.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype
    limit: int = 2
    also: tuple[str, ...] = ()
    doubtful: bool = False
    penalized: int | None = None
    rows: np.ndarray | None = None

    @property
    def domain(self) -> str | None:
        """A description of the values that were not tried; None if all kinds were tried."""
        if self.kind == NUMBERS:
            return None
        if self.rows is not None:
            return f"values of `{self.name}` other than in the samples"
        words = {
            MASK: f"values of `{self.name}` other than 0 and 1",
            INDICES: f"values of `{self.name}` other than whole numbers from 0 to {self.limit - 1}",
            LENGTHS: f"values of `{self.name}` other than whole numbers from 1 to {self.limit}",
            ADJACENCY: f"values of `{self.name}` other than adjacencies with a loop at every node",
            BOXES: f"values of `{self.name}` other than ordered corners",
        }
        return words[self.kind]


def input_names(callee: Callee, count: int) -> list[str]:
    """The names of a layer's inputs: arguments, keys, Input layers, or names they unpack to."""
    if len(callee.inputs) == count and is_graph(callee.layer):
        return [input_name(tensor) for tensor in callee.inputs]
    if isinstance(callee.input_shape, dict) and len(callee.input_shape) == count:
        return sorted(callee.input_shape)
    if callee.spread or count == 1:
        return callee.argument_names()[:count]
    return _unpacked_names(callee.layer, count) or [f"input {i}" for i in range(count)]


def declared_dtypes(callee: Callee, count: int) -> list[str | None]:
    """The data types that a model or an Embedding declares, None if not declared."""
    if len(callee.inputs) == count:
        return [tensor.dtype for tensor in callee.inputs]
    if isinstance(callee.layer, keras.layers.Embedding):
        return ["int32"]
    return [None] * count


def find_roles(
    names: list[str],
    shapes: list[tuple[int, ...]],
    dtypes: list[Any],
    reference: list[Usage],
    candidate: list[Usage],
    samples: list[np.ndarray] | None = None,
) -> list[Role]:
    """The role of each input.

    Args:
        names: the inputs' names.
        shapes: the shape of one sample of each.
        dtypes: the dtype of each.
        reference: how the traced reference uses each; plain usages if it cannot be traced.
        candidate: how the traced candidate uses each.
        samples: the user's samples, one array for each input.
    """
    roles = []
    for i, name in enumerate(names):
        role = Role(name, NUMBERS, shapes[i], np.dtype(dtypes[i]))
        if samples is not None:
            roles.append(_of_samples(role, reference[i], samples[i]))
        else:
            lengths = [shape[0] for shape in shapes if shape]
            roles.append(_guess(role, reference[i], candidate[i], len(names) > 1, lengths))
    return roles


def _of_samples(role: Role, usage: Usage, samples: np.ndarray) -> Role:
    guessed = _guess(role, usage, usage, False, [])
    binary = bool(np.isin(samples, (0, 1)).all())
    if samples.dtype.kind == "f" and not binary and guessed.kind == NUMBERS:
        return role
    kind = MASK if binary else guessed.kind if guessed.kind != NUMBERS else INDICES
    return Role(role.name, kind, role.shape, samples.dtype, rows=samples)


def _guess(role: Role, usage: Usage, candidate: Usage, several: bool, lengths: list[int]) -> Role:
    known = {"name": role.name, "shape": role.shape, "dtype": role.dtype}
    words = set(re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", role.name).lower()))
    named = [kind for kind, those in WORDS.items() if words & those]
    whole = role.dtype.kind != "f"
    square = len(role.shape) > 1 and role.shape[-1] == role.shape[-2]
    if usage.indices:
        limits = [limit for limit in usage.indices if limit]
        return Role(kind=INDICES, limit=min(limits, default=SOME), **known)
    if usage.lengths:
        return Role(kind=LENGTHS, limit=min(usage.lengths), **known)
    if usage.levels and LENGTHS in named:
        return Role(kind=LENGTHS, limit=usage.levels - 1, **known)
    if usage.levels:
        return Role(kind=INDICES, limit=usage.levels, **known)
    if MASK in named or role.dtype.kind == "b" or usage.binary:
        return Role(kind=MASK, penalized=usage.penalized, **known)
    if ADJACENCY in named and square:
        return Role(kind=ADJACENCY, **known)
    if LENGTHS in named and whole:
        return Role(kind=LENGTHS, limit=min(lengths, default=SOME), **known)
    if whole:
        widths = {"uint8": 256, "int8": 128}
        return Role(kind=INDICES, limit=widths.get(role.dtype.name, SOME), **known)
    if BOXES in named and role.shape[-1:] == (4,):
        return Role(kind=BOXES, **known)
    also = [BOXES] if role.shape[-1:] == (4,) else []
    if several:
        also += [MASK, ADJACENCY] if square else [MASK]
    corners = bool(also) and also[0] == BOXES and usage.corners
    doubtful = corners or (several and candidate.binary)
    return Role(kind=NUMBERS, also=tuple(also), doubtful=doubtful, **known)


def _unpacked_names(layer: keras.Layer, count: int) -> list[str] | None:
    # x, mask = inputs
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(layer.call)))
    except (OSError, SyntaxError):  # defined in a shell, or a lambda
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            names = [each.id for each in node.targets[0].elts if isinstance(each, ast.Name)]
            if len(names) == count and isinstance(node.value, ast.Name):
                return names
    return None
