"""The inputs a layer or model is tried on: a batch of each kind that tells layers apart.

No single kind is enough: on zeros alone most wrong rewrites look right, and ones cannot see an
axis taken for another. An input that is no plain number, such as a mask, takes values that make
sense for it in every kind.
"""

from dataclasses import dataclass, replace

import numpy as np

from leankeras.equivalence.calling import Callee
from leankeras.equivalence.roles import ADJACENCY, BOXES, INDICES, LENGTHS, MASK, Role
from leankeras.equivalence.shapes import Shape
from leankeras.errors import EquivalenceError

USUAL = ("random", "positive")  # that say how large outputs are as a rule
GENERIC = ("large", "small", "nothing masked", "samples")  # no two numbers in them are alike
SCALES = {"large": 30.0, "small": 1e-3}


@dataclass(frozen=True)
class Probe:
    """A batch to compare two layers on.

    Args:
        name: kind of input.
        arrays: one for each input.
        doubtful: whether its values may be none that the layer was made for, so that a difference
            on it proves nothing.
        finite: whether outputs there only have to be finite where the reference's are.
    """

    name: str
    arrays: tuple[np.ndarray, ...]
    doubtful: bool
    finite: bool = False


def make_probes(roles: list[Role], samples: list[np.ndarray] | None, batch: int) -> list[Probe]:
    """Batches of every kind, "random" first and the user's samples last.

    Args:
        roles: what each input is.
        samples: checked samples of the user's own.
        batch: how many samples a batch has.
    """
    rng = np.random.default_rng(0)
    doubtful = any(role.doubtful for role in roles)

    def probe(name: str, kinds: list[str], in_doubt: bool = doubtful) -> Probe:
        pairs = zip(roles, kinds, strict=True)
        arrays = tuple(draw(role, kind, batch, rng) for role, kind in pairs)
        return Probe(name, arrays, in_doubt)

    count, rank = len(roles), max(len(role.shape) for role in roles)
    kinds = ["random", "zeros", "ones", "large", "small", "sparse"]
    kinds += [f"constant along axis {axis}" for axis in range(1, rank + 1)]
    if rank > 1:
        kinds.append("padded")
    probes = [probe(kind, [kind] * count) for kind in kinds]
    structured = [role.kind in (MASK, LENGTHS, ADJACENCY) for role in roles]
    if any(structured):
        probes.append(
            probe("nothing masked", ["ones" if each else "random" for each in structured])
        )
        if samples is None and any(role.kind in (MASK, ADJACENCY) for role in roles):
            kinds = ["empty" if each else "random" for each in structured]
            empty = probe("empty mask", kinds, in_doubt=True)
            probes.append(replace(empty, finite=any(role.penalized is not None for role in roles)))
    for alternative in sorted({kind for role in roles for kind in role.also}):
        takers = [i for i, role in enumerate(roles) if alternative in role.also]
        groups = [[i] for i in takers] if alternative != BOXES else []
        for group in groups if len(takers) == 1 else [*groups, takers]:
            # An input that takes no part is as random as it can be without being in doubt.
            kinds = [
                alternative if i in group else BOXES if BOXES in role.also else "random"
                for i, role in enumerate(roles)
            ]
            rest = any(role.doubtful for i, role in enumerate(roles) if i not in group)
            names = " and ".join(roles[i].name for i in group)
            probes.append(probe(f"{names} as {alternative}", kinds, in_doubt=rest))
    if samples is not None:
        probes.append(Probe("samples", tuple(samples), False))
    return probes


def positive_probe(roles: list[Role], batch: int) -> Probe:
    """Numbers above 0, for what takes logarithms and roots."""
    rng = np.random.default_rng(1)
    arrays = tuple(draw(role, "positive", batch, rng) for role in roles)
    return Probe("positive", arrays, any(role.doubtful for role in roles))


def within_reach(reference: Callee, roles: list[Role], batch: int) -> list[Role]:
    """The roles with indices low enough for the reference, where their range is not known."""
    if not any(role.kind == INDICES and role.rows is None for role in roles):
        return roles
    for limit in (None, 4, 2, 1):
        tried = [
            replace(role, limit=limit) if limit and role.kind == INDICES else role for role in roles
        ]
        rng = np.random.default_rng(0)
        try:
            reference.run([draw(role, "ones", batch, rng) for role in tried])
            return tried
        except EquivalenceError as error:
            refused = error
    raise refused


def draw(role: Role, kind: str, batch: int, rng: np.random.Generator) -> np.ndarray:
    """A batch of one input.

    Args:
        role: what the input is.
        kind: a kind of probe, or of role that the input is to be taken for.
        batch: how many samples.
        rng: where random numbers come from.
    """
    shape = (batch, *role.shape)
    taken = kind if kind in DRAWN else role.kind
    if role.rows is not None:
        values = _from_samples(role, kind, shape, rng)
    elif taken in DRAWN:
        values = DRAWN[taken](role, kind, shape, rng)
    else:
        values = _numbers(kind, shape, rng)
    return values.astype(role.dtype)


def _numbers(kind: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    if kind == "zeros":
        return np.zeros(shape)
    if kind == "ones":
        return np.ones(shape)
    if kind == "positive":
        return rng.uniform(0.1, 1.1, shape)
    if kind == "whole":
        return rng.integers(-2, 3, shape)
    if kind.startswith("constant"):
        axis = int(kind.rsplit(" ", 1)[1])
        if axis < len(shape):
            one_wide = (*shape[:axis], 1, *shape[axis + 1 :])
            return np.broadcast_to(rng.normal(size=one_wide), shape)
    values = rng.normal(size=shape)
    if kind == "large":
        values *= SCALES[kind]  # beyond it exp() in a plain softmax overflows
    elif kind == "small":
        values *= SCALES[kind]
    elif kind == "sparse":
        values *= rng.random(shape) < 0.1
    elif kind == "padded" and len(shape) > 2:
        # Steps of zeros at the end of the first sample, at the start of the second.
        half = -(-shape[1] // 2)
        values[::2, half:] = 0
        values[1::2, :half] = 0
    return values


def _mask(role: Role, kind: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    wide = (shape[0], *(size for size in shape[1:] if size > 1))
    if wide != shape:
        return _mask(role, kind, wide, rng).reshape(shape)
    kept = 0.0 if role.penalized == 1 else 1.0
    if kind == "ones":
        return np.full(shape, kept)
    chosen = rng.random(shape) < 0.6
    if kind == "padded" and len(shape) == 2:
        chosen = np.arange(shape[1]) < rng.integers(1, shape[1] + 1, (shape[0], 1))
    elif len(shape) == 2:
        # No sample without anything left: what becomes of that is a question of its own.
        chosen[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = True
    elif len(shape) > 2:
        steps = np.arange(shape[-2])
        chosen[..., steps, steps % shape[-1]] = True
    if kind == "empty":
        chosen[0] = False
    return np.where(chosen, kept, 1 - kept)


def _indices(role: Role, kind: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    if kind == "zeros":
        return np.zeros(shape)
    if kind == "ones":
        return np.full(shape, role.limit - 1)
    return rng.integers(0, role.limit, shape)


def _lengths(role: Role, kind: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    if kind == "ones":
        return np.full(shape, role.limit)
    return rng.integers(1, role.limit + 1, shape)


def _adjacency(role: Role, kind: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    loops = np.eye(shape[-1])
    if kind == "ones":
        return np.ones(shape)
    if kind == "zeros":
        return np.broadcast_to(loops, shape)
    values = np.maximum(rng.random(shape) < 0.4, loops).astype("float64")  # one way, as a rule
    if kind in ("large", "small", ADJACENCY):
        values /= values.sum(axis=-1, keepdims=True)
    elif kind in ("sparse", "padded"):
        values = np.maximum(values, np.swapaxes(values, -1, -2))
    elif kind == "empty":
        values[0] = 0
    return values


def _boxes(role: Role, kind: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    # Corners in order, some boxes far apart and some one upon the other; in pixels when "large".
    corner = rng.uniform(0, 1, (*shape[:-1], 2))
    size = rng.uniform(0.05, 0.8, (*shape[:-1], 2))
    values = np.concatenate([corner, corner + size], axis=-1)
    return np.round(300 * values) if kind in ("large", "whole") else values


def _from_samples(role: Role, kind: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    if role.kind == INDICES and kind in ("zeros", "ones"):
        return np.full(shape, role.rows.min() if kind == "zeros" else role.rows.max())
    if role.kind == INDICES and kind not in ("random", "padded"):
        return rng.choice(role.rows.ravel(), shape)
    if role.kind == MASK and kind == "ones":
        return np.ones(shape)
    return role.rows[rng.integers(0, len(role.rows), shape[0])]


DRAWN = {
    MASK: _mask,
    INDICES: _indices,
    LENGTHS: _lengths,
    ADJACENCY: _adjacency,
    BOXES: _boxes,
}
