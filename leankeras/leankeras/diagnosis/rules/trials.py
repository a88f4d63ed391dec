"""The rules about what only trying a layer shows, and about what could not be tried."""

from leankeras.diagnosis.rules.rule import Rule

RULES = [
    Rule(
        "call-fails",
        "error",
        "the layer cannot be called on a batch of the given shape",
        "Nothing else can be tried.",
        "Correct the layer or the input_shape (one sample, without the batch); give samples where "
        "the inputs are no random numbers (indices, masks, boxes).",
        "`input_shape=(16,)` for a Conv1D",
    ),
    Rule(
        "batch-dependent",
        "error",
        "it fails at batch 1 or 8, or a sample's output depends on the rest of its batch",
        "Deployment runs one sample at a time: it fails there, or gives other answers than in "
        "the tests.",
        "Keep the batch axis free; take statistics over axes other than 0, or in training only.",
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
        "it runs eagerly and cannot be traced into a graph",
        "No tf.function, no functional model, no export, no conversion.",
        "Only tensor operations (keras.ops, tf) on what depends on the input.",
        "`float(x[0, 0])`",
    ),
    Rule(
        "graph-differs",
        "error",
        "the graph computes something else than the eager call",
        "What was tested in Python is not what is deployed.",
        "No Python state, no time, no NumPy on values in call.",
        "`x * self.step` with `self.step` changed in call",
    ),
    Rule(
        "dynamic-batch",
        "warning",
        "it cannot be traced while the batch size is unknown",
        "It cannot stand in a functional model or be exported with a free batch; each new batch "
        "size is a new trace (about 0.3 s each).",
        "-1 for the batch axis in a reshape; keras.ops.shape(x)[0], not x.shape[0].",
        "`tf.zeros((x.shape[0], 8))`",
    ),
    Rule(
        "retrace",
        "warning",
        "each new value of a Python argument of call makes a new trace",
        "A trace costs tenths of a second, in the middle of serving.",
        "Pass a tensor, or make it a constructor argument.",
        "`def call(self, x, step=0)`",
    ),
    Rule(
        "unused-weight",
        "warning",
        "a weight that is trainable, moves no output and gets no gradient",
        "Training cannot change what the layer computes through it, and a value loaded from a file "
        "has no effect.",
        "To learn it, compute what depends on it in call, not once in build; to keep it constant, "
        "use a NumPy array or add_weight(trainable=False); where nothing needs it, remove it.",
        "`self.table = keras.ops.sin(self.frequency)` in build",
        confirmed_by={"reload-differs": ""},
    ),
    Rule(
        "wrong-output-shape",
        "error",
        "compute_output_shape says another shape than call gives",
        "A functional model builds what follows for the shape that is said.",
        "Remove compute_output_shape, since Keras finds the shape by tracing call, or put it right.",
        "`return input_shape` from compute_output_shape of a layer that pools",
    ),
    Rule(
        "reload-fails",
        "error",
        "a saved .keras file of it cannot be loaded in safe mode",
        "It cannot be shipped as a file.",
        "Take **kwargs in __init__ and hand them on, super().__init__(**kwargs), for the name, dtype "
        "and trainable that Keras passes; plain values as constructor arguments, all returned by "
        "get_config; weights in build.",
        "`def __init__(self, units):` without `**kwargs`",
    ),
    Rule(
        "reload-differs",
        "error",
        "reloaded from a .keras file it computes something else",
        "What is shipped is not what was tested, and nothing says so.",
        "All that is learnt or drawn belongs in add_weight, all settings in get_config.",
        "weights in a dict that Keras does not track",
    ),
    Rule(
        "savedmodel-fails",
        "error",
        "it cannot be exported as a SavedModel, or computes something else there",
        "TensorFlow Serving and most converters start from a SavedModel.",
        "Only tensor operations in call; all variables by add_weight.",
        "an operation on a Python object",
    ),
    Rule(
        "tflite-fails",
        "error",
        "it cannot be converted to TFLite and run by LiteRT",
        "It does not run on a phone, a Pi or a microcontroller.",
        "Replace the operations that the message names by built-in ones; fixed shapes; no "
        "strings, no random numbers.",
        "`tf.linalg.svd(x)`",
    ),
    Rule(
        "no-source",
        "info",
        "the source of a class cannot be read",
        "The diagnosis knows only what trying it shows.",
        "Keep the class in a .py file or a notebook cell.",
        "a class made by exec()",
    ),
    Rule(
        "not-tried",
        "info",
        "the layer was read and not tried",
        "Whether it runs, reloads and converts is not known.",
        "Give an instance and its input_shape: leankeras.diagnose(CustomConv(64), (256, 16)).",
        "`leankeras.diagnose(CustomConv)` where the constructor needs filters",
    ),
]
