"""Weight clustering of Keras 3 models, through tensorflow-model-optimization.

Every kernel keeps only a few distinct values, so the file compresses well. The arithmetic
stays the same: clustering makes nothing faster.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.clustering.keras.clusterable_layer import (
    ClusterableLayer,
)
from tensorflow_model_optimization.python.core.clustering.keras.clustering_registry import (
    ClusteringRegistry,
)
from tensorflow_model_optimization.python.core.clustering.keras.experimental.cluster import (
    cluster_weights,
)

from leankeras.arrays import first
from leankeras.data import Data
from leankeras.errors import ParameterError
from leankeras.kernels import (
    Coverage,
    check_names,
    coverage_table,
    kernels_of,
    measure_kernels,
    planned_names,
)
from leankeras.objective import find_objective
from leankeras.parameters import check_parameters
from leankeras.training import fit
from leankeras.twin import Twin, native_layer

# Layers of tf_keras whose kernels the library knows. It knows those of MultiHeadAttention as well,
# but puts them back in a different order after training.
NATIVE = {*ClusteringRegistry._LAYERS_WEIGHTS_MAP, *ClusteringRegistry._SUPPORTED_RNN_LAYERS}
# The fewest that include zero and one value on either side of it.
FEWEST = 3


def cluster(
    model: keras.Model,
    data: Data,
    clusters: int = 16,
    epochs: int = 2,
    leave: Sequence[str] = (),
    verbose: int = 1,
) -> keras.Model:
    """Train a copy of the model while each kernel takes a limited number of distinct values.

    A kernel that is already pruned keeps its zeros: one of its values is 0. A layer that is left
    alone is trained like any other and may lose its zeros. Depthwise kernels (also those of
    separable convolutions), biases and everything else of rank 1 are left alone. Training uses
    Adam with a cosine schedule and whole batches of 64, in float32 whatever the model's precision.

    Args:
        model: a built Keras 3 model. It is not changed.
        data: what to train on; the test part is not used.
        clusters: how many distinct values each kernel may take, at least 3.
        epochs: passes over the training part.
        leave: names of layers to leave alone.
        verbose: 1 prints the table of layers before training and the number of values reached
            after it, 0 prints nothing.

    Returns:
        A new, uncompiled Keras 3 model; `measure_kernels` counts the values in each layer.

    Raises:
        ParameterError: clusters or epochs are out of range.
        ModelError: the model is not built, has NaN weights or does not fit the data, a name
            matches no layer, or there is nothing to cluster.
        TwinError: the model cannot be rebuilt in tf_keras.

    Example:
        >>> clustered = leankeras.cluster(model, data, clusters=16)
    """
    check_parameters({"epochs": epochs})
    if not isinstance(clusters, int) or clusters < FEWEST:
        raise ParameterError(f"clusters is {clusters!r}; expected an integer of at least {FEWEST}")
    objective = find_objective(model, data)
    twin = Twin.of(model, first(data.x_train), _clusters_natively)
    rows = plan_clustering(twin, clusters, leave)
    chosen = planned_names(model, rows, "cluster")
    if verbose:
        print(coverage_table(rows).to_string(index=False))
    before = measure_kernels(twin.source)["sparsity"]

    def wrap(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if layer.name not in chosen:
            return layer
        return cluster_weights(
            layer,
            clusters,
            tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
            preserve_sparsity=_is_pruned(before[layer.name], clusters),
        )

    wrapped = tf_keras.models.clone_model(twin.model, clone_function=wrap)
    fit(wrapped, data, epochs, objective=objective, framework=tf_keras)
    clustered = twin.write_back(tfmot.clustering.keras.strip_clustering(wrapped))
    if verbose:
        # write_back has put the clustered weights into the source.
        kernels = [kernel for name in sorted(chosen) for kernel in kernels_of(twin.layers[name])]
        values = [len(np.unique(k)) for k in kernels if k.name != "depthwise_kernel"]
        print(f"at most {max(values)} distinct values in each clustered kernel")
    return clustered


def plan_clustering(twin: Twin, clusters: int, leave: Sequence[str]) -> list[Coverage]:
    """Decide for each layer with kernels whether it will be clustered, and if not, why not.

    Args:
        twin: the model's twin.
        clusters: how many distinct values each kernel may take.
        leave: layers to leave.
    """
    rows = []
    for layer in twin.model.layers:
        source = twin.layers.get(layer.name)
        if source is None or not kernels_of(source):
            continue
        kind = type(source).__name__
        sizes = _clusterable_sizes(layer)
        if layer.name in leave:
            because = "left as asked"
        elif not sizes or "Depthwise" in kind:
            because = "depthwise kernels are left alone"
        elif min(sizes) <= clusters:
            because = f"a kernel of {min(sizes)} weights gains nothing from {clusters} values"
        else:
            because = ""
        plan = "" if because else f"{clusters} values"
        rows.append(Coverage(layer.name, kind, sum(sizes), plan, because))
    check_names(rows, leave)
    return rows


def _is_pruned(sparsity: float, clusters: int) -> bool:
    """Whether zero deserves a value of its own: more than an even share of the weights is zero."""
    return sparsity > 1 / clusters


def _clusters_natively(layer: keras.layers.Layer) -> bool:
    """Whether the library knows the kernels of the tf_keras layer; a bridge always does."""
    native = native_layer(layer)
    if native is None or not kernels_of(layer):
        return native is not None
    return type(native) in NATIVE


def _clusterable_sizes(layer: tf_keras.layers.Layer) -> list[int]:
    if not isinstance(layer, ClusterableLayer):
        layer = ClusteringRegistry.make_clusterable(layer)
    return [int(weight.shape.num_elements()) for _, weight in layer.get_clusterable_weights()]
