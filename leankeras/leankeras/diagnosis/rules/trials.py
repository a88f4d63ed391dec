"""The rules about what only trying a layer shows, and about what could not be tried."""

from leankeras.diagnosis.rules.rule import Rule

RULES = [
    Rule(
        "call-fails",
        "error",
        "the layer cannot be called on a batch of the given shape",
        "Nothing else can be tried.",
        "Correct the layer or the input_shape (of one sample, without the batch). Where random "
        "numbers are no valid inputs (indices, masks, boxes), give samples.",
        "`input_shape=(16,)` for a Conv1D",
    ),
    Rule(
        "batch-dependent",
        "error",
        "a layer that fails at batch 1 or 8, or mixes the samples of a batch",
        "Deployment runs one sample at a time: the layer fails there, or gives other answers than "
        "it did in the tests.",
        "Keep the batch axis free; take statistics over other axes than 0, or in training only.",
        "`x - keras.ops.mean(x, axis=0)`",
    ),
    Rule(
        "random-at-inference",
        "error",
        "two calls with training=False gave different outputs",
        "The deployed model gives another answer each time.",
        "Draw random numbers only if training; keep no state between calls.",
        "`keras.random.dropout(x, 0.5)` in call",
    ),
    Rule(
        "graph-fails",
        "error",
        "a layer that runs eagerly but cannot be traced into a graph",
        "It cannot be part of a tf.function or a functional model, nor exported or converted.",
        "Use only tensor operations (keras.ops, tf) on what depends on the input.",
        "`float(x[0, 0])`",
    ),
    Rule(
        "graph-differs",
        "error",
        "a graph that computes something else than the eager call",
        "What was tested in Python is not what is deployed.",
        "Keep Python state, the time, and NumPy on values out of call.",
        "`x * self.step` with `self.step` changed in call",
    ),
    Rule(
        "dynamic-batch",
        "warning",
        "a layer that cannot be traced while the batch size is unknown",
        "It cannot be part of a functional model or be exported with a free batch, and each new "
        "batch size costs a new trace (about 0.3 s).",
        "Use -1 for the batch axis in a reshape, and keras.ops.shape(x)[0] instead of x.shape[0].",
        "`tf.zeros((x.shape[0], 8))`",
    ),
    Rule(
        "retrace",
        "warning",
        "a Python argument of call, each new value of which makes a new trace",
        "A trace costs tenths of a second, in the middle of serving.",
        "Pass a tensor, or make it a constructor argument.",
        "`def call(self, x, step=0)`",
    ),
    Rule(
        "unused-weight",
        "warning",
        "a trainable weight that no output depends on and no gradient reaches",
        "It does not train, and a value loaded from a file has no effect.",
        "If it is to be learnt, compute what depends on it in call, not once in build. If not, "
        "make it a NumPy array or add_weight(trainable=False), or remove it.",
        "`self.table = keras.ops.sin(self.frequency)` in build",
        confirmed_by={"reload-differs": ""},
    ),
    Rule(
        "wrong-output-shape",
        "error",
        "a compute_output_shape that disagrees with what call returns",
        "A functional model builds the next layers for a shape that never comes.",
        "Remove compute_output_shape (Keras finds the shape by tracing call), or correct it.",
        "`return input_shape` from compute_output_shape of a layer that pools",
    ),
    Rule(
        "reload-fails",
        "error",
        "a layer whose saved .keras file cannot be loaded in safe mode",
        "It cannot be shipped as a file.",
        "Let __init__ take **kwargs and pass them on, super().__init__(**kwargs): Keras gives it "
        "name, dtype and trainable. Take plain values as arguments, return all of them from "
        "get_config, and make weights in build.",
        "`def __init__(self, units):` without `**kwargs`",
    ),
    Rule(
        "reload-differs",
        "error",
        "a layer that computes something else once reloaded from its .keras file",
        "What is shipped is not what was tested, and nothing tells you.",
        "Keep all that is learnt or drawn in add_weight, and all settings in get_config.",
        "`self.table = load_table()` where that draws random numbers",
    ),
    Rule(
        "savedmodel-fails",
        "error",
        "a layer that cannot be exported as a SavedModel, or computes something else there",
        "TensorFlow Serving and most converters start from a SavedModel.",
        "Use only tensor operations in call, and make all variables with add_weight.",
        "an operation on a Python object",
    ),
    Rule(
        "tflite-fails",
        "error",
        "a layer that cannot be converted to TFLite, or does not run there",
        "It does not run on a phone, a Pi or a microcontroller.",
        "Replace the operations that the message names with built-in ones; keep shapes fixed, and "
        "strings and random numbers out.",
        "`tf.linalg.svd(x)`",
    ),
    Rule(
        "no-source",
        "info",
        "a class whose source cannot be read",
        "The diagnosis knows only what trying the layer shows.",
        "Keep the class in a .py file or a notebook cell.",
        "a class made by exec()",
    ),
    Rule(
        "not-tried",
        "info",
        "a layer that was read but not tried",
        "Whether it runs, reloads and converts is not known.",
        "Give an instance and its input_shape: leankeras.diagnose(CustomConv(64), (256, 16)).",
        "`leankeras.diagnose(CustomConv)` where the constructor needs filters",
    ),
]
