"""The channels a model can spare: its accuracy with one group reduced at a time."""

import keras
import pandas as pd

from leankeras.channels.removal import plan_removal, remove_channels
from leankeras.data import Data
from leankeras.runtime import evaluate


def channel_sensitivity(model: keras.Model, data: Data, fraction: float = 0.5) -> pd.DataFrame:
    """Accuracy when a fraction of one group of channels is removed and nothing is trained.

    Args:
        model: a trained Keras 3 classifier; it is not changed.
        data: its validation part is scored.
        fraction: the share of each group to remove, in [0, 1).

    Returns:
        A row for each group that can be reduced, the most sensitive first: ``layers``,
        its number of ``channels``, ``accuracy`` without the fraction, and ``accuracy_lost``.
    """
    before = evaluate(model, data.x_val, data.y_val)["accuracy"]
    groups = plan_removal(model, fraction).table
    rows = []
    for group in groups[groups["frozen because"] == ""].itertuples():
        reduced = {group.layers.split(", ")[0]: fraction}
        smaller = remove_channels(model, fraction=reduced, verbose=0)
        accuracy = evaluate(smaller, data.x_val, data.y_val)["accuracy"]
        rows.append((group.layers, group.channels, accuracy, before - accuracy))
    table = pd.DataFrame(rows, columns=["layers", "channels", "accuracy", "accuracy_lost"])
    return table.sort_values("accuracy_lost", ascending=False, ignore_index=True)
