"""Whether two layers compute the same function."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "RELATIVE": ".tolerance",
        "RELATIVE_REPEAT": ".tolerance",
        "Shape": ".probes",
        "check_equivalence": ".comparison",
        "check_shape": ".probes",
        "distance": ".tolerance",
        "flat_shapes": ".probes",
        "kept": ".perturbation",
        "pack": ".probes",
        "perturb": ".perturbation",
    },
)
