"""Diagnose, rewrite, compress, convert and measure Keras 3 models.

Names are imported on first use, so ``import leankeras`` costs nothing and ``.tflite`` files can be
timed without TensorFlow.
"""

from leankeras import startup
from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Budget": ".budget",
        "ConversionError": ".errors",
        "Data": ".data",
        "KoptError": ".errors",
        "Rewrite": ".rewriting",
        "Score": ".task",
        "Task": ".task",
        "check_equivalence": ".equivalence",
        "cluster": ".clustering",
        "compare_latency": ".runtime",
        "convert": ".conversion",
        "deploy": ".devices",
        "diagnose": ".diagnosis",
        "distill": ".distillation",
        "emulate": ".devices",
        "ethos_u": ".devices",
        "evaluate": ".runtime",
        "microcontroller": ".devices",
        "profile_layers": ".runtime",
        "profile_operators": ".runtime",
        "prune": ".pruning",
        "remove_channels": ".channels",
        "rewrite": ".rewriting",
        "to_tf_keras": ".twin",
        "train_quantized": ".quantization",
    },
)

startup.install()
