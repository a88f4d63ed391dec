"""Check whether two layers compute the same function."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Callee": ".calling",
        "Equivalence": ".verdict",
        "Pair": ".pair",
        "RELATIVE": ".tolerance",
        "RELATIVE_REPEAT": ".tolerance",
        "Shape": ".shapes",
        "check_equivalence": ".comparison",
        "check_shape": ".shapes",
        "distance": ".tolerance",
        "flat_shapes": ".shapes",
        "input_names": ".roles",
        "kept": ".perturbation",
        "pack": ".shapes",
        "perturb": ".perturbation",
    },
)
