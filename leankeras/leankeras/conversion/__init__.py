"""Convert a model to a verified ``.tflite``, or to a file of another format."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Arrays": ".signature",
        "Conversion": ".tflite",
        "FORMATS": ".formats",
        "Float32Files": ".once",
        "MIN_SAMPLES": ".calibration",
        "warm_converter": ".converter",
        "convert": ".tflite",
        "convert_to_score": ".tflite",
        "operator_errors": ".operator_error",
        "save_model": ".formats",
    },
)
