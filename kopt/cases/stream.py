"""Who is speaking? One utterance at a time, with an LSTM written by hand, step by step."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kopt.case import Case, Epochs
from kopt.project import DATA
from leankeras.budget import Budget
from leankeras.data import Data
from leankeras.rewriting import Rewrite

STEPS, COEFFICIENTS, CLASSES = 29, 12, 9
GATES = ("input", "forget", "cell", "output")


@keras.saving.register_keras_serializable("kopt")
class SteppedLSTM(keras.Layer):
    """A textbook LSTM: a loop over the steps with one product for each gate.

    Args:
        units: size of the state.

    Takes ``(batch, steps, features)`` and returns the last state, ``(batch, units)``.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        features = input_shape[-1]
        self.kernels = [
            self.add_weight(name=f"{gate}_kernel", shape=(features, self.units)) for gate in GATES
        ]
        self.recurrent_kernels = [
            self.add_weight(
                name=f"{gate}_recurrent_kernel",
                shape=(self.units, self.units),
                initializer="orthogonal",
            )
            for gate in GATES
        ]
        self.biases = [
            self.add_weight(
                name=f"{gate}_bias",
                shape=(self.units,),
                initializer="ones" if gate == "forget" else "zeros",
            )
            for gate in GATES
        ]

    def call(self, inputs):
        state = carry = tf.zeros((tf.shape(inputs)[0], self.units), inputs.dtype)
        for step in range(inputs.shape[1]):
            sums = [
                tf.matmul(inputs[:, step], kernel) + tf.matmul(state, recurrent_kernel) + bias
                for kernel, recurrent_kernel, bias in zip(
                    self.kernels, self.recurrent_kernels, self.biases, strict=True
                )
            ]
            carry = tf.sigmoid(sums[1]) * carry + tf.sigmoid(sums[0]) * tf.tanh(sums[2])
            state = tf.sigmoid(sums[3]) * tf.tanh(carry)
        return state

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def load() -> Data:
    """Utterances, padding included, standardised with the training mean and standard deviation."""
    return Data.load(DATA / "japanese_vowels.npz").standardised()


def _network(name: str, recurrent: keras.Layer) -> keras.Model:
    inputs = keras.Input((STEPS, COEFFICIENTS), name="utterance")
    x = layers.Dense(32, activation="relu", name="features")(inputs)
    x = recurrent(x)
    x = layers.Dense(32, activation="relu", name="summary")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x), name=name)


def _port(old: SteppedLSTM, new: layers.LSTM) -> None:
    """Keras stores the four gates side by side, in the same order."""
    gates = (old.kernels, old.recurrent_kernels, old.biases)
    new.set_weights([np.concatenate([np.asarray(w) for w in each], axis=-1) for each in gates])


CASE = Case(
    name="stream",
    title="Speakers from two vowels, one utterance at a time, with an LSTM written step by step",
    load=load,
    build=lambda: _network("stream", SteppedLSTM(48, name="recurrent")),
    slow_layer=SteppedLSTM,
    rewrites=(
        Rewrite("LSTM", lambda old: layers.LSTM(old.units), _port),
        Rewrite("LSTM, unrolled", lambda old: layers.LSTM(old.units, unroll=True), _port),
    ),
    build_teacher=lambda: _network("teacher", layers.LSTM(128, name="recurrent")),
    budget=Budget(latency_us=50, size_kb=150, accuracy_loss=0.01),
    epochs=Epochs(profile=40, prune=20, distil=40, qat=10),
)
