"""Check whether two layers compute the same function."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Equivalence": ".verdict",
        "RELATIVE": ".tolerance",
        "RELATIVE_REPEAT": ".tolerance",
        "Shape": ".shapes",
        "check_equivalence": ".comparison",
        "check_shape": ".shapes",
        "distance": ".tolerance",
        "flat_shapes": ".shapes",
        "kept": ".perturbation",
        "pack": ".shapes",
        "perturb": ".perturbation",
    },
)
