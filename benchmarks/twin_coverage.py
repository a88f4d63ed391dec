"""How much of a Keras 3 model becomes native tf_keras layers, and is the twin equal?

Run ``uv run python benchmarks/twin_coverage.py``; it prints the table in docs/coverage.md in
about two minutes: the models of the tests, then architectures of keras.applications with random,
perturbed weights (fresh ones have biases of zero, which hide errors).
"""

import sys
from pathlib import Path

import keras
import numpy as np

from leankeras.twin import Twin

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.leankeras.twin.test_twin import MODELS

SIZE = 64
ARCHITECTURES = (
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "ResNet50",
    "ResNet50V2",
    "DenseNet121",
    "NASNetMobile",
    "ConvNeXtTiny",
    "VGG16",
)


def architecture(name: str) -> keras.Model:
    return getattr(keras.applications, name)(
        input_shape=(SIZE, SIZE, 3), weights=None, classes=10, classifier_activation=None
    )


def is_input_statistic(weight: keras.Variable) -> bool:
    """Whether a weight belongs to a Normalization layer, which reads it only when adapted."""
    return weight.path.startswith("normalization")


def perturb(model: keras.Model) -> keras.Model:
    generator = np.random.default_rng(0)
    for weight in model.weights:
        values = np.asarray(weight)
        if "float" not in weight.dtype or is_input_statistic(weight):
            continue
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(generator.uniform(0.8, 1.2, values.shape))
        else:
            weight.assign(values + generator.normal(0, 0.01, values.shape))
    return model


def row(name: str, model: keras.Model) -> str:
    twin = Twin.of(perturb(model))
    generic = [type(twin.model.get_layer(n).operation).__name__ for n in twin.generic]
    kinds = ", ".join(sorted(set(generic))) or "–"
    return f"| {name} | {len(twin.native)} | {len(generic)} | {kinds} | {twin.max_abs_diff:.1e} |"


def main() -> None:
    print("| model | native | generic | run by a bridge | largest difference |")
    print("|---|---:|---:|---|---:|")
    for make in MODELS:
        keras.utils.set_random_seed(0)
        print(row(make.__name__.replace("_", " "), make()), flush=True)
    for name in ARCHITECTURES:
        keras.utils.set_random_seed(0)
        print(row(name, architecture(name)), flush=True)


if __name__ == "__main__":
    main()
