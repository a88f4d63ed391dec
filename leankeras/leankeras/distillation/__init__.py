"""Training a student with a teacher."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "distill": ".distillation",
        "distillation_trials": ".trials",
        "logits_of": ".logits",
    },
)
