"""Training for 8 bits, and the cost of 8 bits: error by layer, exemptions, calibration."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "compare_calibrations": ".calibration_choice",
        "find_exemptions": ".exemptions",
        "quantization_error": ".layer_error",
        "train_quantized": ".training",
    },
)
