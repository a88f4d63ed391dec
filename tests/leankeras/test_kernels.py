import keras

from leankeras.kernels import Kernel, widest_kernel


def test_the_widest_kernel_is_found_at_any_depth_and_counts_its_own_weights(small_model):
    inputs = keras.Input((16, 2))
    inner = keras.Sequential([keras.Input((8,)), keras.layers.Dense(100, use_bias=False)])
    x = keras.layers.DepthwiseConv1D(3)(inputs)
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Conv1D(8, 5)(x))
    kernel = widest_kernel(keras.Model(inputs, inner(x)))
    assert (kernel.window, kernel.inputs, kernel.outputs, kernel.has_bias) == (1, 8, 100, False)
    assert str(kernel).endswith(": window of 1, 8 inputs, 100 outputs, no biases")
    kernel = widest_kernel(small_model)
    layer = small_model.get_layer("conv")
    assert kernel == Kernel("conv", 3, 2, 8, True)
    assert kernel.window * kernel.inputs * kernel.outputs + kernel.outputs == layer.count_params()
