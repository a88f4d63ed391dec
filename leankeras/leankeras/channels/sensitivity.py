"""Which channels a model can spare: its score with one group of them reduced at a time."""

import keras
import pandas as pd

from leankeras.channels.removal import plan_removal, remove_channels
from leankeras.data import Data
from leankeras.objective import find_objective
from leankeras.runtime import score_value


def channel_sensitivity(model: keras.Model, data: Data, fraction: float = 0.5) -> pd.DataFrame:
    """The score when a fraction of one group of channels is removed and nothing is trained.

    Args:
        model: a trained Keras 3 model; it is left as it is.
        data: its validation part is scored.
        fraction: the share of each group to remove, in [0, 1).

    Returns:
        A row for each group that can be reduced, the most sensitive first: ``layers``,
        ``channels`` it has, the score without the fraction, by its name, and what is lost of it,
        for a classifier ``accuracy`` and ``accuracy_lost``.
    """
    score = find_objective(model, data).task.score
    before = score_value(model, data)
    groups = plan_removal(model, fraction).table
    rows = []
    for group in groups[groups["frozen because"] == ""].itertuples():
        reduced = {group.layers.split(", ")[0]: fraction}
        smaller = remove_channels(model, fraction=reduced, verbose=0)
        value = score_value(smaller, data)
        rows.append((group.layers, group.channels, value, score.lost(before, value)))
    table = pd.DataFrame(rows, columns=["layers", "channels", *score.columns[:2]])
    return table.sort_values(score.columns[1], ascending=False, ignore_index=True)
