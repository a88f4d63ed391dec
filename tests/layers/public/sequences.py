"""Layers from public code for sequences, tokens and signals."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tests.layers.public.public import Public, register


@register
class ResidualBlock(keras.Layer):
    """Two dilated convolutions and a shortcut, a Lambda where shapes fit."""

    def __init__(self, dilation_rate, nb_filters, kernel_size, **kwargs):
        super().__init__(**kwargs)
        self.dilation_rate = dilation_rate
        self.nb_filters = nb_filters
        self.kernel_size = kernel_size
        self.layers = []

    def build(self, input_shape):
        self.layers = []
        shape = input_shape
        for k in range(2):
            convolution = keras.layers.Conv1D(
                self.nb_filters,
                self.kernel_size,
                dilation_rate=self.dilation_rate,
                padding="causal",
                name=f"conv_{k}",
            )
            convolution.build(shape)
            shape = convolution.compute_output_shape(shape)
            self.layers.append(convolution)
            self.layers.append(keras.layers.Activation("relu"))
            self.layers.append(keras.layers.SpatialDropout1D(0.1))
        if input_shape[-1] != self.nb_filters:
            self.shortcut = keras.layers.Conv1D(self.nb_filters, 1, name="matching")
            self.shortcut.build(input_shape)
        else:
            self.shortcut = keras.layers.Lambda(lambda x: x, name="identity")
        self.final_activation = keras.layers.Activation("relu")
        super().build(input_shape)

    def call(self, x, training=None):
        x1 = x
        for layer in self.layers:
            x1 = layer(x1, training=training) if "dropout" in layer.name else layer(x1)
        x2 = self.shortcut(x)
        return [self.final_activation(keras.layers.add([x2, x1])), x1]


@register
class TCN(keras.Layer):
    """Residual blocks in a row, their outputs collected in lists that each call begins anew."""

    def __init__(self, nb_filters=4, kernel_size=2, dilations=(1, 2, 4, 8, 16), **kwargs):
        super().__init__(**kwargs)
        self.nb_filters = nb_filters
        self.kernel_size = kernel_size
        self.dilations = dilations
        self.skip_connections = []
        self.residual_blocks = []
        self.layers_outputs = []

    def build(self, input_shape):
        self.residual_blocks = []
        shape = input_shape
        for index, rate in enumerate(self.dilations):
            block = ResidualBlock(rate, self.nb_filters, self.kernel_size, name=f"block_{index}")
            block.build(shape)
            shape = (*shape[:-1], self.nb_filters)
            self.residual_blocks.append(block)
        self.slicer = keras.layers.Lambda(lambda x: x[:, -1, :], name="slice")
        super().build(input_shape)

    def call(self, inputs, training=None):
        x = inputs
        self.layers_outputs = [x]
        self.skip_connections = []
        for block in self.residual_blocks:
            x, skip = block(x, training=training)
            self.skip_connections.append(skip)
            self.layers_outputs.append(x)
        x = keras.layers.add(self.skip_connections)
        self.layers_outputs.append(x)
        return self.slicer(x)


@register
class SeqSelfAttention(keras.Layer):
    """Additive attention of every step to every other, within a width."""

    def __init__(self, units=6, attention_width=None, history_only=False, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.units = units
        self.attention_width = attention_width
        self.history_only = history_only

    def get_config(self):
        config = {
            "units": self.units,
            "attention_width": self.attention_width,
            "history_only": self.history_only,
        }
        return {**super().get_config(), **config}

    def build(self, input_shape):
        features = input_shape[2]
        self.Wt = self.add_weight(shape=(features, self.units), name="Wt")
        self.Wx = self.add_weight(shape=(features, self.units), name="Wx")
        self.bh = self.add_weight(shape=(self.units,), initializer="zeros", name="bh")
        self.Wa = self.add_weight(shape=(self.units, 1), name="Wa")
        self.ba = self.add_weight(shape=(1,), initializer="zeros", name="ba")
        super().build(input_shape)

    def call(self, inputs, mask=None, **kwargs):
        length = ops.shape(inputs)[1]
        q = ops.expand_dims(ops.matmul(inputs, self.Wt), 2)
        k = ops.expand_dims(ops.matmul(inputs, self.Wx), 1)
        h = ops.tanh(q + k + self.bh)
        e = ops.reshape(ops.matmul(h, self.Wa) + self.ba, (-1, length, length))
        e = ops.exp(e - ops.max(e, axis=-1, keepdims=True))
        if self.attention_width is not None:
            upper = 0 if self.history_only else (self.attention_width - 1) // 2
            ones = tf.ones((length, length))
            e = e * tf.linalg.band_part(ones, self.attention_width // 2, upper)
        if mask is not None:
            e = e * ops.cast(mask, "float32")[:, None, :]
        a = e / (ops.sum(e, axis=-1, keepdims=True) + 1e-7)
        return ops.matmul(a, inputs)


@register
class BahdanauAttention(keras.Layer):
    """Attention of a decoder to an encoder, a decoder step at a time in a scan."""

    def build(self, input_shape):
        encoder, decoder = input_shape[0][2], input_shape[1][2]
        self.W_a = self.add_weight(shape=(encoder, encoder), initializer="uniform", name="W_a")
        self.U_a = self.add_weight(shape=(decoder, encoder), initializer="uniform", name="U_a")
        self.V_a = self.add_weight(shape=(encoder, 1), initializer="uniform", name="V_a")

    def call(self, inputs, verbose=False):
        assert isinstance(inputs, list)
        encoded, decoded = inputs
        if verbose:
            print("encoded", encoded.shape)

        def energy_step(_, step):
            hidden = ops.tanh(
                ops.matmul(encoded, self.W_a) + ops.expand_dims(ops.matmul(step, self.U_a), 1)
            )
            return ops.softmax(ops.squeeze(ops.matmul(hidden, self.V_a), -1), axis=-1)

        first = tf.zeros_like(encoded[:, :, 0])
        energies = tf.scan(energy_step, tf.transpose(decoded, (1, 0, 2)), initializer=first)
        energies = tf.transpose(energies, (1, 0, 2))
        return ops.matmul(energies, encoded), energies


@register
class SRU(keras.Layer):
    """A simple recurrent unit, its gates cut out of one kernel while it was built."""

    def __init__(self, units=6, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[2], 3 * self.units), name="kernel")
        self.bias = self.add_weight(shape=(2 * self.units,), initializer="zeros", name="bias")
        self.kernel_w = self.kernel[:, : self.units]
        self.kernel_f = self.kernel[:, self.units : 2 * self.units]
        self.kernel_r = self.kernel[:, 2 * self.units :]
        self.bias_f = self.bias[: self.units]
        self.bias_r = self.bias[self.units :]

    def step(self, x, c):
        f = ops.sigmoid(ops.matmul(x, self.kernel_f) + self.bias_f)
        r = ops.sigmoid(ops.matmul(x, self.kernel_r) + self.bias_r)
        c = f * c + (1 - f) * ops.matmul(x, self.kernel_w)
        h = r * ops.tanh(c) + (1 - r) * x
        self.time_step += 1
        self.hidden_states.append(h)
        return c

    def call(self, inputs):
        self.time_step = 0
        self.hidden_states = []
        c = tf.zeros_like(inputs[:, 0])
        for t in range(inputs.shape[1]):
            c = self.step(inputs[:, t], c)
        return ops.stack(self.hidden_states, axis=1)


@register
class LTCCell(keras.Layer):
    """A liquid time-constant cell: six unfoldings of an ODE a step, its weights in a dict."""

    def __init__(self, units=5, ode_unfolds=6, epsilon=1e-8, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = units
        self._ode_unfolds = ode_unfolds
        self._epsilon = epsilon

    def build(self, input_shape):
        inputs, units = input_shape[-1], self.units
        self._params = {}
        for name, shape in (
            ("gleak", (units,)),
            ("vleak", (units,)),
            ("cm", (units,)),
            ("sigma", (units, units)),
            ("mu", (units, units)),
            ("w", (units, units)),
            ("erev", (units, units)),
            ("sensory", (inputs, units)),
        ):
            self._params[name] = self.add_weight(
                name=name, shape=shape, initializer=keras.initializers.RandomUniform(0.1, 0.9)
            )

    def call(self, inputs, states, training=False):
        v = states[0]
        sensory = ops.matmul(inputs, self._params["sensory"])
        cm = self._params["cm"] * self._ode_unfolds
        for _ in range(self._ode_unfolds):
            gate = ops.sigmoid(
                self._params["sigma"] * (ops.expand_dims(v, -1) - self._params["mu"])
            )
            active = self._params["w"] * gate
            numerator = cm * v + self._params["gleak"] * self._params["vleak"] + sensory
            numerator = numerator + ops.sum(active * self._params["erev"], axis=1)
            v = numerator / (cm + self._params["gleak"] + ops.sum(active, axis=1) + self._epsilon)
        return v, [v]

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "ode_unfolds": self._ode_unfolds,
            "epsilon": self._epsilon,
        }


@register
class PositionalEncoding(keras.Layer):
    """Sines and cosines, computed once with NumPy."""

    def __init__(self, length=32, depth=8, **kwargs):
        super().__init__(**kwargs)
        self.length = length
        self.depth = depth
        rates = 1 / 10000 ** (np.arange(depth // 2)[None] / (depth / 2))
        angles = np.arange(length)[:, None] * rates
        self.encoding = tf.cast(np.concatenate([np.sin(angles), np.cos(angles)], -1), "float32")

    def call(self, x):
        length = tf.shape(x)[1]
        return x * tf.sqrt(float(self.depth)) + self.encoding[None, :length, :]


@register
class TokenAndPositionEmbedding(keras.Layer):
    def __init__(self, maxlen=12, vocab_size=20, embed_dim=4, **kwargs):
        super().__init__(**kwargs)
        self.token_emb = keras.layers.Embedding(vocab_size, embed_dim)
        self.pos_emb = keras.layers.Embedding(maxlen, embed_dim)

    def call(self, x):
        positions = tf.range(start=0, limit=tf.shape(x)[-1], delta=1)
        return self.token_emb(x) + self.pos_emb(positions)


@register
class SincConv1D(keras.Layer):
    """Band-pass filters of learnt frequencies, which build turns into numbers once."""

    def __init__(self, N_filt, Filt_dim, fs, **kwargs):
        super().__init__(**kwargs)
        self.N_filt = N_filt
        self.Filt_dim = Filt_dim
        self.fs = fs

    def get_config(self):
        return {"N_filt": self.N_filt, "Filt_dim": self.Filt_dim, "fs": self.fs}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def build(self, input_shape):
        self.filt_b1 = self.add_weight(
            name="filt_b1", shape=(self.N_filt,), initializer="uniform", trainable=True
        )
        self.filt_band = self.add_weight(
            name="filt_band", shape=(self.N_filt,), initializer="uniform", trainable=True
        )
        points = np.linspace(80, 2595 * np.log10(1 + self.fs / 1400), self.N_filt)
        frequencies = 700 * (10 ** (points / 2595) - 1)
        b1, b2 = np.roll(frequencies, 1), np.roll(frequencies, -1)
        b1[0], b2[-1] = 30, self.fs / 2 - 100
        self.set_weights([b1 / self.fs, (b2 - b1) / self.fs])
        self.beginning = ops.abs(self.filt_b1) + 50 / self.fs
        self.end = self.beginning + ops.abs(self.filt_band) + 50 / self.fs
        n = np.linspace(0, self.Filt_dim, self.Filt_dim)
        window = 0.54 - 0.46 * np.cos(2 * np.pi * n / self.Filt_dim)
        self.window = tf.Variable(window, dtype="float32", name="window")
        right = np.linspace(1, (self.Filt_dim - 1) / 2, (self.Filt_dim - 1) // 2)
        self.t_right = tf.Variable(right / self.fs, dtype="float32", name="t_right")
        super().build(input_shape)

    def call(self, x, **kwargs):
        filters = []
        for i in range(self.N_filt):
            low = 2 * self.beginning[i] * sinc(self.beginning[i] * self.fs, self.t_right)
            high = 2 * self.end[i] * sinc(self.end[i] * self.fs, self.t_right)
            band = (high - low) / ops.max(high - low)
            filters.append(band * self.window)
        filters = ops.transpose(ops.stack(filters))
        filters = ops.reshape(filters, (self.Filt_dim, 1, self.N_filt))
        return ops.conv(x, filters)


def sinc(band, right):
    y = ops.sin(2 * np.pi * band * right) / (2 * np.pi * band * right)
    return ops.concatenate([ops.flip(y), ops.ones(1), y], axis=0)


@register
class FNetMixing(keras.Layer):
    """Tokens mixed by a Fourier transform."""

    def call(self, x):
        return tf.math.real(tf.signal.fft2d(tf.cast(x, tf.complex64)))


@register
class LocallyConnected1D(keras.Layer):
    """A kernel for each place: a loop over the places, as the backend of Keras 2 had it."""

    def __init__(self, filters=3, kernel_size=3, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size

    def build(self, input_shape):
        length = input_shape[1] - self.kernel_size + 1
        shape = (length, self.kernel_size * input_shape[2], self.filters)
        self.kernel = self.add_weight(shape=shape, name="kernel")

    def call(self, x):
        length, feature_dim, _ = self.kernel.shape
        patches = []
        for i in range(length):
            patch = x[:, i : i + self.kernel_size, :]
            patches.append(ops.reshape(patch, (1, -1, feature_dim)))
        patches = ops.concatenate(patches, axis=0)
        output = ops.matmul(patches, self.kernel)
        return ops.transpose(output, (1, 0, 2))


@register
class KalmanFilter(keras.Layer):
    """A filter with learnt noise for each feature."""

    def build(self, input_shape):
        self.q = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="q")
        self.r = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="r")

    def call(self, x):
        state, variance = x[:, 0], ops.ones_like(x[:, 0])
        states = [state]
        for t in range(1, x.shape[1]):
            variance = variance + ops.square(self.q)
            gain = variance / (variance + ops.square(self.r))
            state = state + gain * (x[:, t] - state)
            variance = (1 - gain) * variance
            states.append(state)
        return ops.stack(states, axis=1)


def tokens():
    return np.random.default_rng(0).integers(0, 20, (16, 12))


SEQUENCES = [
    Public("philipperemy/keras-tcn: TCN", TCN, (12, 4), {}),
    Public("CyberZHG/keras-self-attention: SeqSelfAttention", SeqSelfAttention, (8, 4), {}),
    Public(
        "thushv89/attention_keras: AttentionLayer",
        BahdanauAttention,
        [(6, 4), (5, 4)],
        {"dynamic-loop": "warning"},
    ),
    Public(
        "titu1994/keras-SRU: SRU",
        SRU,
        (5, 6),
        {"recurrence": "info", "unused-weight": "error"},
    ),
    Public(
        "mlech26l/ncps: LTCCell",
        lambda: keras.layers.RNN(LTCCell()),
        (2, 3),
        {"recurrence": "info"},
    ),
    Public("TensorFlow tutorials: PositionalEmbedding", PositionalEncoding, (10, 8), {}),
    Public(
        "keras-team/keras-io: TokenAndPositionEmbedding",
        TokenAndPositionEmbedding,
        (12,),
        {},
        samples=tokens,
    ),
    Public(
        "grausof/keras-sincnet: SincConv1D",
        lambda: SincConv1D(5, 9, 8000),
        (32, 1),
        {"python-loop": "info", "unused-weight": "warning"},
    ),
    Public("keras-team/keras-io: FNet", FNetMixing, (8, 4), {"tflite-fails": "error"}),
    Public(
        "Keras 2's backend: LocallyConnected1D",
        LocallyConnected1D,
        (12, 4),
        {"loop-over-positions": "warning"},
    ),
    Public("Kalman filters of several repositories", KalmanFilter, (6, 3), {"recurrence": "info"}),
]
