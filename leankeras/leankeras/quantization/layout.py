"""Places where tfmot omits fake quantization because TFLite fuses two layers into one.

tfmot's own rule for a convolution before a ReLU leaves the weights of the convolution without fake
quantization, unless there is a BatchNormalization between the two: training would not see the
effect of the file on them. Here only an Add loses its quantization to the ReLU after it. A
convolution keeps that of its weights; see ``schemes.annotate``.
"""

import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_layout_transform,
    default_8bit_quantize_scheme,
    default_8bit_transforms,
)
from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations import (
    model_transformer,
    transforms,
)


class FloatInput(default_8bit_transforms.InputLayerQuantize):
    """Quantizes inputs of floats; integers are indices, or are turned into floats by a layer."""

    def pattern(self) -> transforms.LayerPattern:
        """Return what to look for."""
        return transforms.LayerPattern("InputLayer", config={"dtype": "float32"})


class AddBeforeReLU(default_8bit_transforms.LayerReLUQuantize):
    """Removes the quantization between an Add and a ReLU layer."""

    def pattern(self) -> transforms.LayerPattern:
        """Return what to look for."""
        return transforms.LayerPattern("ReLU", inputs=[transforms.LayerPattern("Add")])


class AddBeforeActivation(default_8bit_transforms.LayerReluActivationQuantize):
    """Removes the quantization between an Add and an Activation of "relu"."""

    def pattern(self) -> transforms.LayerPattern:
        """Return what to look for."""
        return transforms.LayerPattern(
            "Activation",
            config={"activation": "relu"},
            inputs=[transforms.LayerPattern("Add")],
        )


class FoldedLayout(default_8bit_quantize_layout_transform.Default8BitQuantizeLayoutTransform):
    """tfmot's rules for a model in which BatchNormalization is already folded."""

    def apply(self, model: tf_keras.Model, layer_quantize_map: dict) -> tuple:
        """Return the model and the map with the rules applied."""
        rules = [
            FloatInput(),
            AddBeforeReLU(),
            AddBeforeActivation(),
        ]
        return model_transformer.ModelTransformer(
            model, rules, set(layer_quantize_map), layer_quantize_map
        ).transform()


class FoldedScheme(default_8bit_quantize_scheme.Default8BitQuantizeScheme):
    """tfmot's 8-bit scheme with the rules for folded models."""

    def get_layout_transformer(self) -> FoldedLayout:
        """Return the rules."""
        return FoldedLayout()
