"""The inputs for checking a layer or model: a batch of each kind that tells layers apart.

No single kind is enough: on zeros alone most wrong rewrites look right, and ones cannot reveal
swapped axes. :mod:`.values` defines the values of an input for each kind.
"""

from dataclasses import dataclass, replace

import numpy as np

from leankeras.equivalence.calling import Callee
from leankeras.equivalence.roles import ADJACENCY, BOXES, INDICES, LENGTHS, MASK, Role
from leankeras.equivalence.values import draw
from leankeras.errors import EquivalenceError

USUAL = ("random", "positive")  # these show the usual size of the outputs
GENERIC = ("large", "small", "nothing masked", "samples")  # no two numbers in them are equal


@dataclass(frozen=True)
class Probe:
    """A batch to compare two layers on.

    Args:
        name: kind of input.
        arrays: one for each input.
        doubtful: whether the layer may not be made for its values, so that a difference on it
            proves nothing.
        finite: whether outputs only have to be finite where the reference's are.
    """

    name: str
    arrays: tuple[np.ndarray, ...]
    doubtful: bool
    finite: bool = False


def make_probes(roles: list[Role], samples: list[np.ndarray] | None, batch: int) -> list[Probe]:
    """Batches of every kind, "random" first and the user's samples last.

    Args:
        roles: the role of each input.
        samples: the user's samples, checked.
        batch: number of samples in a batch.
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
            # An input that takes no part is as random as possible without being doubtful.
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
    """Numbers above 0, for layers that take logarithms and roots."""
    rng = np.random.default_rng(1)
    arrays = tuple(draw(role, "positive", batch, rng) for role in roles)
    return Probe("positive", arrays, any(role.doubtful for role in roles))


def within_reach(reference: Callee, roles: list[Role], batch: int) -> list[Role]:
    """The roles with indices low enough for the reference, if their range is not known."""
    if not any(role.kind == INDICES and role.rows is None for role in roles):
        return roles
    for limit in (None, 4, 2, 1):
        tried = [
            replace(role, limit=limit) if limit and role.kind == INDICES else role for role in roles
        ]
        rng = np.random.default_rng(0)
        kinds = ["ones" if role.kind == INDICES else "random" for role in roles]
        try:
            reference.run([draw(*each, batch, rng) for each in zip(tried, kinds, strict=True)])
            return tried
        except EquivalenceError as error:
            refused = error
    raise refused
