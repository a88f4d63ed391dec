"""The values of an input in a batch, by the kind of the probe and the role of the input.

An input that is not plain numbers, such as a mask, gets values that make sense for it in any kind.
"""

import numpy as np

from leankeras.equivalence.roles import ADJACENCY, BOXES, INDICES, LENGTHS, MASK, Role
from leankeras.equivalence.shapes import Shape

SCALES = {"large": 30.0, "small": 1e-3}  # beyond 30, exp() in a plain softmax overflows


def draw(role: Role, kind: str, batch: int, rng: np.random.Generator) -> np.ndarray:
    """A batch of one input.

    Args:
        role: the role of the input.
        kind: a kind of probe, or a kind of role to use for the input.
        batch: number of samples.
        rng: the source of random numbers.
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
    if kind in SCALES:
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
        # No sample is masked completely; that case is tested separately.
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
    values = np.maximum(rng.random(shape) < 0.4, loops).astype("float64")  # mostly one-way
    if kind in ("large", "small", ADJACENCY):
        values /= values.sum(axis=-1, keepdims=True)
    elif kind in ("sparse", "padded"):
        values = np.maximum(values, np.swapaxes(values, -1, -2))
    elif kind == "empty":
        values[0] = 0
    return values


def _boxes(role: Role, kind: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    # Corners in order, some boxes far apart and some overlapping; in pixels when "large".
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
