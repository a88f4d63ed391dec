"""The rules about loops in a call, by what they run over."""

from leankeras.diagnosis.rules.rule import Rule

_UNROLLED = "Python unrolls the loop: the graph repeats its operations, and launching each of them "
_UNROLLED += "costs more than its arithmetic."

RULES = [
    Rule(
        "loop-over-filters",
        "warning",
        "a loop over filters, with one convolution each",
        _UNROLLED,
        "Use one convolution for all filters: kernel = stack(kernels, axis=-1), then "
        "keras.layers.Conv1D or keras.ops.conv(x, kernel).",
        "`[tf.nn.conv1d(x, kernel, 1, 'SAME') for kernel in self.kernels]`",
        over="filters",
    ),
    Rule(
        "loop-over-channels",
        "warning",
        "a loop over channels",
        _UNROLLED,
        "Per-channel convolutions are one DepthwiseConv1D or DepthwiseConv2D; other per-channel "
        "arithmetic is one broadcast operation, or a reduction over axis=-1.",
        "`[conv(x[..., c : c + 1]) for c in range(channels)]`",
        over="channels",
    ),
    Rule(
        "loop-over-groups",
        "warning",
        "a loop over groups of channels",
        _UNROLLED,
        "Use one grouped convolution, keras.layers.Conv1D(filters, size, groups=n), with the "
        "groups' kernels concatenated along the last axis; for dense groups, one einsum; for other "
        "arithmetic, reshape to (..., groups, size) and use one operation.",
        "`[conv(part) for conv, part in zip(self.convs, tf.split(x, 4, axis=-1))]`",
        over="groups",
    ),
    Rule(
        "loop-over-branches",
        "warning",
        "a loop over parallel sub-layers or weights (heads, experts, trees)",
        _UNROLLED,
        "Use one projection for all: stack the weights along a new axis for one Dense or "
        "keras.layers.EinsumDense('btd,dhk->bthk'), then reshape or sum over the new axis. If each "
        "branch has its own input, stack the inputs too: einsum('bhd,hdk->bhk'). Tables of several "
        "columns become one Embedding, with an offset for each column.",
        "`[head(x) for head in self.heads]`",
        over="branches",
    ),
    Rule(
        "loop-over-timesteps",
        "warning",
        "a loop over timesteps (tokens, nodes) that carries no state from one to the next",
        _UNROLLED,
        "Use one batched operation for all timesteps: Dense, matmul and einsum take the whole "
        "(batch, time, features) at once; shifts are keras.ops.roll or take.",
        "`[self.dense(x[:, t]) for t in range(x.shape[1])]`",
        over="timesteps",
    ),
    Rule(
        "loop-over-positions",
        "warning",
        "a loop over rows, columns or windows of an image or signal",
        _UNROLLED,
        "Use pooling or convolution layers, keras.ops.image.extract_patches, or a reduction over "
        "axis=(1, 2), which see all positions at once.",
        "`for i in range(h): for j in range(w): out.append(x[:, i, j] * weights[i, j])`",
        over="positions",
    ),
    Rule(
        "loop-over-regions",
        "warning",
        "a loop over regions (boxes) cut out of an image or feature map",
        _UNROLLED,
        "Compute the sampling points of all regions as one tensor of coordinates, and take them "
        "with one keras.ops.take_along_axis or tf.gather_nd.",
        "`[crop(x, boxes[:, i]) for i in range(regions)]`",
        over="regions",
    ),
    Rule(
        "loop-over-batch",
        "warning",
        "a loop over the samples of the batch",
        "The batch size is frozen into the graph, and samples run one after another.",
        "Drop the loop, since Keras operations work on whole batches, or use "
        "keras.ops.vectorized_map.",
        "`[self.dense(x[i : i + 1]) for i in range(x.shape[0])]`",
        over="batch",
        confirmed_by={"batch-dependent": "", "dynamic-batch": ""},
    ),
    Rule(
        "recurrence",
        "info",
        "a loop in which each step needs the result of the step before",
        "Its steps cannot run at once. Unrolled, its graph grows with the number of steps: the "
        "right form for TFLite, but slow to trace for long inputs.",
        "Keep the loop. Move work that does not need the state out of it (project all timesteps at "
        "once beforehand), or use keras.layers.LSTM or GRU with unroll=True for conversion.",
        "`for t in range(steps): h = tf.tanh(x[:, t] @ self.w + h @ self.u)`",
        over="recurrence",
    ),
    Rule(
        "python-loop",
        "warning",
        "a Python loop over tensor operations",
        _UNROLLED,
        "Put the items of the loop on an axis of one tensor and use one operation over it.",
        "`[tf.pow(x, k) for k in range(8)]`",
        over="python-loop",
    ),
]
