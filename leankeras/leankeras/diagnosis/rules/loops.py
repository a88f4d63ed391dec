"""The rules about loops in a call, by what they run over."""

from leankeras.diagnosis.rules.rule import Rule

_NODES = "Python unrolls it, so the graph repeats the operations and each launch costs more than "
_NODES += "its arithmetic."

RULES = [
    Rule(
        "loop-over-filters",
        "warning",
        "a loop over filters, with one convolution each",
        _NODES,
        "One convolution with all filters: kernel = stack(kernels, axis=-1), then "
        "keras.layers.Conv1D or keras.ops.conv(x, kernel).",
        "`[tf.nn.conv1d(x, kernel, 1, 'SAME') for kernel in self.kernels]`",
        over="filters",
    ),
    Rule(
        "loop-over-channels",
        "warning",
        "a loop over the channels of the input",
        _NODES,
        "Per-channel convolutions are one DepthwiseConv1D or DepthwiseConv2D; per-channel "
        "arithmetic is one broadcast operation or a reduction over axis=-1.",
        "`[conv(x[..., c : c + 1]) for c in range(channels)]`",
        over="channels",
    ),
    Rule(
        "loop-over-groups",
        "warning",
        "a loop over groups of channels",
        _NODES,
        "One grouped convolution, keras.layers.Conv1D(filters, size, groups=n), with the kernels "
        "of the groups concatenated along the last axis; for dense groups, one einsum; for other "
        "arithmetic, reshape to (..., groups, size) and use one operation.",
        "`[conv(part) for conv, part in zip(self.convs, tf.split(x, 4, axis=-1))]`",
        over="groups",
    ),
    Rule(
        "loop-over-branches",
        "warning",
        "a loop over parallel sub-layers or weights (heads, experts, trees)",
        _NODES,
        "One projection for all: stack the weights along a new axis and use one Dense or "
        "keras.layers.EinsumDense('btd,dhk->bthk'), then reshape or sum over the new axis; where "
        "each has an input of its own, stack those too: einsum('bhd,hdk->bhk').",
        "`[head(x) for head in self.heads]`",
        over="branches",
    ),
    Rule(
        "loop-over-timesteps",
        "warning",
        "a loop over timesteps (tokens, nodes) that carries no state from one to the next",
        _NODES,
        "Timesteps that do not depend on one another are one batched operation: Dense, matmul and "
        "einsum take the whole (batch, time, features) at once; shifts are keras.ops.roll or take.",
        "`[self.dense(x[:, t]) for t in range(x.shape[1])]`",
        over="timesteps",
    ),
    Rule(
        "loop-over-positions",
        "warning",
        "a loop over rows, columns or windows of an image or signal",
        _NODES,
        "Pooling and convolution layers, keras.ops.image.extract_patches, or a reduction over "
        "axis=(1, 2) see all positions at once.",
        "`for i in range(h): for j in range(w): out.append(x[:, i, j] * weights[i, j])`",
        over="positions",
    ),
    Rule(
        "loop-over-regions",
        "warning",
        "a loop over regions (boxes) that are cut out of an image or feature map",
        _NODES,
        "Compute the coordinates of the sampling points of all regions as one tensor, and take "
        "them with one keras.ops.take_along_axis or tf.gather_nd.",
        "`[crop(x, boxes[:, i]) for i in range(regions)]`",
        over="regions",
    ),
    Rule(
        "loop-over-batch",
        "warning",
        "a loop over the samples of the batch",
        "The batch size is frozen into the graph, and samples run one after another.",
        "Keras operations take the batch axis as it is: drop the loop, or use "
        "keras.ops.vectorized_map.",
        "`[self.dense(x[i : i + 1]) for i in range(x.shape[0])]`",
        over="batch",
        confirmed_by={"batch-dependent": "", "dynamic-batch": ""},
    ),
    Rule(
        "recurrence",
        "info",
        "a loop whose every step needs the step before",
        "It cannot be run at once; unrolled, its graph grows with the number of steps, which is "
        "the right form for TFLite and slow to trace for long inputs.",
        "Keep the loop. Move what does not need the state out of it (project all timesteps at "
        "once before), or use keras.layers.LSTM or GRU with unroll=True for conversion.",
        "`for t in range(steps): h = tf.tanh(x[:, t] @ self.w + h @ self.u)`",
        over="recurrence",
    ),
    Rule(
        "python-loop",
        "warning",
        "another Python loop over tensor operations",
        _NODES,
        "Put what the loop runs over on an axis of one tensor and use one operation over it.",
        "`[tf.pow(x, k) for k in range(8)]`",
        over="python-loop",
    ),
]
