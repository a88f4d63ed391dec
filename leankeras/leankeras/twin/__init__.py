"""The tf_keras twin of a Keras 3 model, which tensorflow-model-optimization needs."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "KerasOperation": ".bridge",
        "Twin": ".twin",
        "native_layer": ".native",
        "to_tf_keras": ".twin",
    },
)
