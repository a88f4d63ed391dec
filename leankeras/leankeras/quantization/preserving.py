"""Keep the gains of pruning and clustering through fine-tuning.

tfmot's own prune- and cluster-preserving schemes cover only the layers it has schemes for, which
exclude Conv1D and custom layers. Here the same is done to the weights of any kernel after each
step: zeros are restored, and weights that were equal all take their mean.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import tensorflow as tf
import tf_keras

SPARSITY, CLUSTERS, BOTH = PRESERVE = ("sparsity", "clusters", "both")


class KeepWeights(tf_keras.callbacks.Callback):
    """Restores the form the weights had before training, after every step.

    Args:
        what: ``"sparsity"``, ``"clusters"`` or ``"both"``.
        variables: the weights by layer; kernels (rank 2 or more) are kept.
    """

    def __init__(self, what: str, variables: Mapping[str, Sequence[tf.Variable]]) -> None:
        super().__init__()
        self.what = what
        self._kernels = [
            (layer, variable, variable.numpy())
            for layer, weights in variables.items()
            for variable in weights
            if len(variable.shape) >= 2
        ]
        self._masks = [(variable, before != 0) for _, variable, before in self._kernels]
        self._groups = []
        for _, variable, before in self._kernels:
            values, groups = np.unique(before, return_inverse=True)
            # Weights that are mostly different form no clusters.
            if len(values) <= before.size // 2:
                self._groups.append((variable, groups.ravel(), len(values)))

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Restore clusters, then zeros."""
        if self.what in (CLUSTERS, BOTH):
            for variable, groups, count in self._groups:
                means = tf.math.unsorted_segment_mean(tf.reshape(variable, [-1]), groups, count)
                variable.assign(tf.reshape(tf.gather(means, groups), variable.shape))
        if self.what in (SPARSITY, BOTH):
            for variable, mask in self._masks:
                variable.assign(tf.where(mask, variable, 0.0))

    def measure(self) -> pd.DataFrame:
        """Compare the kernels with their values before training.

        Returns:
            One row for each kernel: ``layer``; ``sparsity``, the share of zeros before;
            ``zeros_kept``, the share of those that are still zero (NaN if there were none);
            ``distinct_before`` and ``distinct_after``, numbers of different weights.
        """
        rows = []
        for layer, variable, before in self._kernels:
            after, zeros = variable.numpy(), before == 0
            rows.append(
                {
                    "layer": layer,
                    "sparsity": zeros.mean(),
                    "zeros_kept": (after[zeros] == 0).mean() if zeros.any() else np.nan,
                    "distinct_before": len(np.unique(before)),
                    "distinct_after": len(np.unique(after)),
                }
            )
        return pd.DataFrame(rows)
