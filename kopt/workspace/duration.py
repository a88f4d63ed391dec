"""About how long a run takes, and how much of a large set goes into what only illustrates."""

import os

import keras

from kopt.case import Epochs
from leankeras.arrays import count_samples
from leankeras.data import Data
from leankeras.errors import ParameterError
from leankeras.training import seconds_per_pass
from leankeras.training_progress import duration

ILLUSTRATION_SAMPLES = 5_000  # of each part at most, for curves, repeated trials and examples
FIXED_SECONDS = 180  # kernels that start, conversions, latencies
SCORED_FILES = 60  # on the validation part, a sample at a time
SLOWER = 2  # than plain training: with masks, clusters, a teacher or fake quantization


def training_passes(epochs: Epochs, share: float) -> float:
    """Passes over the training part in all notebooks, where illustrations use a share of it."""
    # a teacher trains as long as the model in 01
    plain = 2 * epochs.profile + 3 * epochs.prune + 2 * epochs.distil + epochs.qat
    curves, trials = 6 * max(1, epochs.prune // 3), 12 * max(1, epochs.distil // 10)
    return plain + share * (curves + trials + 2 * max(1, epochs.qat // 3))


def expected_duration(model: keras.Model, data: Data, epochs: Epochs) -> str:
    """About how long a whole run takes, in words, from a few timed training batches.

    Raises:
        ParameterError: longer than a day, or than the environment variable KOPT_MAX_HOURS allows.
    """
    train, val = count_samples(data.x_train), count_samples(data.x_val)
    passes = training_passes(epochs, min(1, ILLUSTRATION_SAMPLES / train))
    work = SLOWER * passes + SCORED_FILES * val / train
    seconds = FIXED_SECONDS + work * seconds_per_pass(model, data)
    text = f"about {duration(seconds)} ({passes:.0f} passes over {train} training samples)"
    hours = float(os.environ.get("KOPT_MAX_HOURS", 24))
    if seconds > 3600 * hours:
        raise ParameterError(
            f"the run would take {text}, longer than {hours:g} hours; use fewer samples or epochs, "
            f"or allow it with KOPT_MAX_HOURS={seconds / 3600 + 1:.0f}"
        )
    return text
