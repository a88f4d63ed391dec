"""Four known architectures with half their channels: equal to the masked model, and faster?

Run ``uv run python benchmarks/channel_removal.py``; it prints the table in docs/coverage.md in
about three minutes. Weights are random and perturbed: latency does not depend on them, and fresh
ones could hide an error.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np

import kopt
from leankeras.channels import plan_removal

SIZE = 96
ARCHITECTURES = ("MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "ResNet50")


def build(architecture: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, architecture)(
        input_shape=(SIZE, SIZE, 3), weights=None, classes=10, classifier_activation=None
    )
    generator = np.random.default_rng(0)
    for weight in model.weights:
        values = np.asarray(weight)
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(generator.uniform(0.5, 1.5, values.shape))
        else:
            weight.assign(values + generator.normal(0, 0.05, values.shape))
    return model


def row(architecture: str, directory: Path) -> list[str]:
    model = build(architecture)
    removal = plan_removal(model, 0.5, scope="layer")
    smaller, masked = removal.apply(), removal.mask()
    samples = np.random.default_rng(1).random((4, SIZE, SIZE, 3), dtype="float32")
    wanted, got = (np.asarray(m(samples, training=False)) for m in (masked, smaller))
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())
    files = {
        name: kopt.convert(m, directory / f"{architecture}_{name}.tflite", mode="float32")
        for name, m in (("whole", model), ("smaller", smaller))
    }
    latency = kopt.compare_latency(
        {name: file.path for name, file in files.items()}, samples[:1], reference="whole"
    ).table.loc["smaller"]
    table = removal.table
    return [
        architecture,
        f"{table['removed'].sum()} of {table['channels'].sum()}",
        f"{model.count_params() / 1e6:.2f} → {smaller.count_params() / 1e6:.2f}",
        f"{files['whole'].size_bytes / 1e6:.2f} → {files['smaller'].size_bytes / 1e6:.2f}",
        f"{np.abs(wanted - got).max():.1e} of {np.abs(wanted).max():.2g}",
        f"{latency['ratio']:.2f} [{latency['ratio_low']:.2f}, {latency['ratio_high']:.2f}]",
    ]


def main() -> None:
    heads = [
        "model", "channels removed", "weights (M)", ".tflite (MB)",
        "difference, of outputs up to", "LiteRT float32 latency ratio",
    ]  # fmt: skip
    print("| " + " | ".join(heads) + " |")
    print("|" + " --- |" * len(heads))
    with tempfile.TemporaryDirectory() as directory:
        for architecture in ARCHITECTURES:
            print("| " + " | ".join(row(architecture, Path(directory))) + " |", flush=True)


if __name__ == "__main__":
    main()
