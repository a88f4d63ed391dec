"""The rules about faults that show only when a layer runs, and about layers that cannot be run."""

from leankeras.diagnosis.rules.rule import Rule

RULES = [
    Rule(
        "call-fails",
        "error",
        "the layer cannot be called on a batch of the given shape",
        "Nothing else can be tried.",
        "Correct the layer or the input_shape (of one sample, without the batch). If random "
        "numbers are not valid inputs (indices, masks, boxes), give samples.",
        "`input_shape=(16,)` for a Conv1D",
    ),
    Rule(
        "batch-dependent",
        "error",
        "a layer that fails at batch 1 or 8, or mixes the samples of a batch",
        "Deployment runs one sample at a time: the layer fails there, or gives different answers "
        "than in the tests.",
        "Keep the batch axis free; take statistics over axes other than 0, or only in training.",
        "`x - keras.ops.mean(x, axis=0)`",
    ),
    Rule(
        "random-at-inference",
        "error",
        "two calls with training=False gave different outputs",
        "The deployed model gives a different answer each time.",
        "Draw random numbers only in training; keep no state between calls.",
        "`keras.random.dropout(x, 0.5)` in call",
    ),
    Rule(
        "graph-fails",
        "error",
        "a layer that runs eagerly but cannot be traced into a graph",
        "It cannot be part of a tf.function or a functional model, nor exported or converted.",
        "Use only tensor operations (keras.ops, tf) on values that depend on the input.",
        "`float(x[0, 0])`",
    ),
    Rule(
        "graph-differs",
        "error",
        "a graph that computes something other than the eager call",
        "The deployed layer is not the one that was tested in Python.",
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
        "a Python argument of call that causes a new trace for each new value",
        "A trace costs tenths of a second, in the middle of serving.",
        "Pass a tensor, or make it a constructor argument.",
        "`def call(self, x, step=0)`",
    ),
    Rule(
        "unused-weight",
        "warning",
        "a trainable weight that no output depends on and no gradient reaches",
        "It does not train, and a value loaded from a file has no effect.",
        "If it should be learnt, compute what depends on it in call, not once in build. If not, "
        "make it a NumPy array or add_weight(trainable=False), or remove it.",
        "`self.table = keras.ops.sin(self.frequency)` in build",
        confirmed_by={"reload-differs": ""},
    ),
    Rule(
        "wrong-output-shape",
        "error",
        "a compute_output_shape that disagrees with the result of call",
        "A functional model builds the next layers for a shape that never occurs.",
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
        "The shipped layer is not the one that was tested, and nothing reports it.",
        "Keep everything learnt or drawn in add_weight, and all settings in get_config.",
        "`self.table = load_table()` if that draws random numbers",
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
        "The diagnosis knows only what running the layer shows.",
        "Keep the class in a .py file or a notebook cell.",
        "a class made by exec()",
    ),
    Rule(
        "not-tried",
        "info",
        "a layer that was read but not tried",
        "Whether it runs, reloads and converts is not known.",
        "Give an instance and its input_shape: leankeras.diagnose(CustomConv(64), (256, 16)).",
        "`leankeras.diagnose(CustomConv)` if the constructor needs filters",
    ),
]
