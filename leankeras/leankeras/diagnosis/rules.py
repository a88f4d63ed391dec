"""The rules of the diagnosis: what each looks for, why it matters, what to do about it.

``docs/diagnosis.md`` is written from this table.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One rule.

    Args:
        severity: of a finding about which trying the layer said nothing more.
        summary: what it looks for.
        why: why that matters for deployment.
        fix: what to do, with a pattern to follow.
        example: code that the rule is about.
    """

    severity: str
    summary: str
    why: str
    fix: str
    example: str


_NODES = "Python unrolls it, so the graph repeats the operations and each launch costs more than "
_NODES += "its arithmetic."

RULES = {
    # Reading the source: loops
    "loop-over-filters": Rule(
        "warning",
        "a loop over filters, with one convolution each",
        _NODES,
        "One convolution with all filters: kernel = stack(kernels, axis=-1), then "
        "keras.layers.Conv1D or keras.ops.conv(x, kernel).",
        "`[tf.nn.conv1d(x, kernel, 1, 'SAME') for kernel in self.kernels]`",
    ),
    "loop-over-channels": Rule(
        "warning",
        "a loop over the channels of the input",
        _NODES,
        "Per-channel convolutions are one DepthwiseConv1D or DepthwiseConv2D; per-channel "
        "arithmetic is one broadcast operation or a reduction over axis=-1.",
        "`[conv(x[..., c : c + 1]) for c in range(channels)]`",
    ),
    "loop-over-groups": Rule(
        "warning",
        "a loop over groups of channels",
        _NODES,
        "One grouped convolution, keras.layers.Conv1D(filters, size, groups=n), with the kernels "
        "of the groups concatenated along the last axis; for dense groups, one einsum.",
        "`[conv(part) for conv, part in zip(self.convs, tf.split(x, 4, axis=-1))]`",
    ),
    "loop-over-branches": Rule(
        "warning",
        "a loop over parallel sub-layers or weights (heads, experts, trees) on the same input",
        _NODES,
        "One projection for all: stack the weights along a new axis and use one Dense or "
        "keras.layers.EinsumDense('btd,dhk->bthk'), then reshape or sum over the new axis.",
        "`[head(x) for head in self.heads]`",
    ),
    "loop-over-timesteps": Rule(
        "warning",
        "a loop over timesteps that carries no state from one to the next",
        _NODES,
        "Timesteps that do not depend on one another are one batched operation: Dense, matmul and "
        "einsum take the whole (batch, time, features) at once; shifts are keras.ops.roll or take.",
        "`[self.dense(x[:, t]) for t in range(x.shape[1])]`",
    ),
    "loop-over-positions": Rule(
        "warning",
        "a loop over rows, columns or windows of an image or signal",
        _NODES,
        "Pooling and convolution layers, keras.ops.image.extract_patches, or a reduction over "
        "axis=(1, 2) see all positions at once.",
        "`for i in range(h): for j in range(w): out.append(x[:, i, j] * weights[i, j])`",
    ),
    "loop-over-batch": Rule(
        "warning",
        "a loop over the samples of the batch",
        "The batch size is frozen into the graph, and samples run one after another.",
        "Keras operations take the batch axis as it is: drop the loop, or use "
        "keras.ops.vectorized_map.",
        "`[self.dense(x[i : i + 1]) for i in range(x.shape[0])]`",
    ),
    "recurrence": Rule(
        "info",
        "a loop whose every step needs the step before",
        "It cannot be run at once; unrolled, its graph grows with the number of steps, which is "
        "the right form for TFLite and slow to trace for long inputs.",
        "Keep the loop. Move what does not need the state out of it (project all timesteps at "
        "once before), or use keras.layers.LSTM or GRU with unroll=True for conversion.",
        "`for t in range(steps): h = tf.tanh(x[:, t] @ self.w + h @ self.u)`",
    ),
    "python-loop": Rule(
        "warning",
        "another Python loop over tensor operations",
        _NODES,
        "Put what the loop runs over on an axis of one tensor and use one operation over it.",
        "`[tf.pow(x, k) for k in range(8)]`",
    ),
    "dynamic-loop": Rule(
        "warning",
        "a map_fn, scan, while_loop or fori_loop",
        "It becomes a While operator, whose body the converter cannot fuse and that runs one step "
        "at a time; in TFLite it often needs operators that are not built in.",
        "A batched operation or keras.ops.vectorized_map where steps are independent; a Python "
        "loop over a fixed number of steps where they are not.",
        "`tf.map_fn(self.one_sample, x)`",
    ),
    # Reading the source: what Python does that a graph cannot
    "python-in-graph": Rule(
        "error",
        "a py_function or numpy_function",
        "It calls back into this Python process: it cannot be saved, converted or run elsewhere.",
        "Write it with keras.ops, or do it before the model.",
        "`tf.numpy_function(self.filter, [x], tf.float32)`",
    ),
    "numpy-in-call": Rule(
        "warning",
        "NumPy applied to a tensor in call",
        "NumPy needs values, which a graph does not have: it fails when traced, or freezes the "
        "values seen then.",
        "The same function of keras.ops (np.maximum is keras.ops.maximum).",
        "`np.maximum(x, 0)`",
    ),
    "control-flow-on-tensor": Rule(
        "warning",
        "a Python if, while or for on the value of a tensor",
        "Python decides once, when the graph is traced; Keras does not convert call with "
        "AutoGraph, so tracing fails.",
        "keras.ops.where(condition, a, b), or keras.ops.cond for costly branches; for a loop, one "
        "operation over the axis.",
        "`if keras.ops.max(x) > 1: x = x / 255`",
    ),
    "state-in-call": Rule(
        "warning",
        "Python state changed in call",
        "A graph runs the Python once, when traced: the change is frozen, or leaks a tensor of a "
        "graph that is gone.",
        "Return it, or keep it in a weight: self.add_weight(trainable=False) and assign.",
        "`self.calls += 1`",
    ),
    "created-in-call": Rule(
        "error",
        "weights or sub-layers created in call",
        "Each call makes new ones: they are not trained, not saved, and tracing fails or repeats.",
        "Create sub-layers in __init__ and weights in build.",
        "`return keras.layers.Dense(8)(x)`",
    ),
    "created-again": Rule(
        "warning",
        "an attribute made of weights or sub-layers in __init__ and again in build",
        "The first ones stay in the file and in the list of weights, or are lost on reload.",
        "Create sub-layers in __init__ and weights in build, each once.",
        "`self.dense = Dense(8)` in both",
    ),
    # Reading the source: what a file does not keep
    "tf-variable": Rule(
        "error",
        "a tf.Variable kept as an attribute",
        "Keras 3 does not track it: it is not in layer.weights, is not saved and does not train.",
        "self.add_weight(shape=..., initializer=...) in build.",
        "`self.scale = tf.Variable(1.0)`",
    ),
    "random-attribute": Rule(
        "error",
        "a random tensor kept as an attribute",
        "A reloaded layer draws another one, so it computes another function.",
        "A weight that is not trained: self.add_weight(initializer='random_normal', "
        "trainable=False).",
        "`self.projection = tf.random.normal((8, 8))`",
    ),
    "lost-argument": Rule(
        "warning",
        "a constructor argument that does not survive get_config and from_config",
        "The reloaded layer has the default instead.",
        "Return it in get_config: return {**super().get_config(), 'units': self.units}; store "
        "arguments as they were given.",
        "`get_config` without `units`",
    ),
    "lambda-layer": Rule(
        "error",
        "a Lambda layer with a Python function",
        "Its bytecode is saved; Keras refuses to load it in safe mode, and it is tied to one "
        "Python version.",
        "A keras.Layer subclass, or keras.ops directly on the Keras tensors.",
        "`keras.layers.Lambda(lambda x: x * 2)`",
    ),
    "unregistered": Rule(
        "info",
        "a custom class that is not registered",
        "Loading a saved model needs custom_objects with exactly this class.",
        "@keras.saving.register_keras_serializable(package='my_project') above the class.",
        "`class Scale(keras.Layer)` without the decorator",
    ),
    "private-import": Rule(
        "warning",
        "an import from TensorFlow's or Keras's private modules",
        "They move and vanish between versions.",
        "The public name: keras.ops, keras.layers, tf.nn.",
        "`from tensorflow.python.ops import array_ops`",
    ),
    # Reading the source: randomness and sizes
    "random-without-training": Rule(
        "warning",
        "randomness in call that does not heed the training argument",
        "The deployed model gives another answer each time, and converters freeze or refuse it.",
        "def call(self, x, training=False), and random numbers only if training; or "
        "keras.layers.GaussianNoise or Dropout, which do that.",
        "`x + tf.random.normal(tf.shape(x))`",
    ),
    "hard-coded-batch": Rule(
        "warning",
        "a batch size written into call",
        "Deployment runs at batch 1, training does not.",
        "-1 for the batch axis in a reshape; keras.ops.shape(x)[0] elsewhere.",
        "`tf.reshape(x, (32, 8, 16))`",
    ),
    "hard-coded-size": Rule(
        "info",
        "a size of the input (tokens, rows) written into call",
        "Another input size needs another class, and fails only when it is called.",
        "x.shape[1], or a constructor argument.",
        "`tf.reshape(x, (-1, 196, 64))`",
    ),
    # Trying it
    "call-fails": Rule(
        "error",
        "the layer cannot be called on a batch of the given shape",
        "Nothing else can be tried.",
        "Correct the layer or the input_shape (one sample, without the batch).",
        "`input_shape=(16,)` for a Conv1D",
    ),
    "batch-dependent": Rule(
        "error",
        "it fails at batch 1 or 8, or a sample's output depends on the rest of its batch",
        "Deployment runs one sample at a time: it fails there, or gives other answers than in "
        "the tests.",
        "Keep the batch axis free; take statistics over axes other than 0, or in training only.",
        "`x - keras.ops.mean(x, axis=0)`",
    ),
    "random-at-inference": Rule(
        "error",
        "two calls with training=False gave different outputs",
        "The deployed model gives another answer each time.",
        "Draw random numbers only if training; keep no state between calls.",
        "`keras.random.dropout(x, 0.5)` in call",
    ),
    "graph-fails": Rule(
        "error",
        "it runs eagerly and cannot be traced into a graph",
        "No tf.function, no functional model, no export, no conversion.",
        "Only tensor operations (keras.ops, tf) on what depends on the input.",
        "`float(x[0, 0])`",
    ),
    "graph-differs": Rule(
        "error",
        "the graph computes something else than the eager call",
        "What was tested in Python is not what is deployed.",
        "No Python state, no time, no NumPy on values in call.",
        "`x * self.step` with `self.step` changed in call",
    ),
    "dynamic-batch": Rule(
        "warning",
        "it cannot be traced while the batch size is unknown",
        "It cannot stand in a functional model or be exported with a free batch; each new batch "
        "size is a new trace (about 0.3 s each).",
        "-1 for the batch axis in a reshape; keras.ops.shape(x)[0], not x.shape[0].",
        "`tf.zeros((x.shape[0], 8))`",
    ),
    "retrace": Rule(
        "warning",
        "each new value of a Python argument of call makes a new trace",
        "A trace costs tenths of a second, in the middle of serving.",
        "Pass a tensor, or make it a constructor argument.",
        "`def call(self, x, step=0)`",
    ),
    "reload-fails": Rule(
        "error",
        "a saved .keras file of it cannot be loaded in safe mode",
        "It cannot be shipped as a file.",
        "Plain values as constructor arguments, all returned by get_config; weights in build.",
        "a constructor argument that is a NumPy array",
    ),
    "reload-differs": Rule(
        "error",
        "reloaded from a .keras file it computes something else",
        "What is shipped is not what was tested, and nothing says so.",
        "All that is learnt or drawn belongs in add_weight, all settings in get_config.",
        "weights in a dict that Keras does not track",
    ),
    "savedmodel-fails": Rule(
        "error",
        "it cannot be exported as a SavedModel, or computes something else there",
        "TensorFlow Serving and most converters start from a SavedModel.",
        "Only tensor operations in call; all variables by add_weight.",
        "an operation on a Python object",
    ),
    "tflite-fails": Rule(
        "error",
        "it cannot be converted to TFLite and run by LiteRT",
        "It does not run on a phone, a Pi or a microcontroller.",
        "Replace the operations that the message names by built-in ones; fixed shapes; no "
        "strings, no random numbers.",
        "`tf.linalg.svd(x)`",
    ),
    # What could not be done
    "no-source": Rule(
        "info",
        "the source of a class cannot be read",
        "The diagnosis knows only what trying it shows.",
        "Keep the class in a .py file or a notebook cell.",
        "a class made by exec()",
    ),
    "not-tried": Rule(
        "info",
        "the layer was read and not tried",
        "Whether it runs, reloads and converts is not known.",
        "Give an instance and its input_shape: leankeras.diagnose(CustomConv(64), (256, 16)).",
        "`leankeras.diagnose(CustomConv)` where the constructor needs filters",
    ),
}
