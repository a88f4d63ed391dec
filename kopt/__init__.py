"""Make slow Keras models fast enough to deploy, and prove it.

Names are imported on first use, so that ``import kopt`` costs nothing and ``kopt bench`` runs
where neither TensorFlow nor Jupyter is installed.
"""

from importlib import import_module

from kopt import startup

_HOMES = {
    "Budget": "budget",
    "Case": "case",
    "Data": "data",
    "Epochs": "case",
    "Rewrite": "rewriting",
    "check_equivalence": "measurement.equivalence",
    "compare_latency": "measurement.latency",
    "convert": "deployment.tflite",
    "diagnose": "diagnosis.diagnosis",
    "distill": "compression.distillation",
    "evaluate": "measurement.runtime",
    "prune": "compression.pruning",
    "profile_layers": "measurement.layers",
    "profile_operators": "measurement.operators",
    "remove_channels": "compression.channels",
    "to_tf_keras": "compression.twin",
    "train_quantized": "compression.quantization",
    "cluster": "compression.clustering",
    "KoptError": "errors",
    "ConversionError": "errors",
}

__all__ = sorted(_HOMES)

startup.install()


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'kopt' has no attribute {name!r}")
    return getattr(import_module(f"kopt.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
