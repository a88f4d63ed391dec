"""Training: what it tells while it runs, and what is expected of it before."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from leankeras import training_progress
from leankeras.distillation import distill
from leankeras.pruning import prune
from leankeras.training import fit, seconds_per_pass
from leankeras.training_progress import duration, watch_training


@pytest.fixture
def told(monkeypatch):
    """Everything that a watcher is told, after every batch."""
    monkeypatch.setattr(training_progress, "TOLD_EVERY", 0.0)
    heard = []
    watch_training(heard.append)
    yield heard
    watch_training(None)


@pytest.mark.parametrize(
    "train",
    [
        lambda model, data: fit(model, data, 3, batch_size=16),
        lambda model, data: prune(model, data, epochs=3, verbose=0),
        lambda model, data: distill(model, model, data, epochs=3, verbose=0),
    ],
    ids=["fit", "tf_keras", "distil"],
)
def test_every_training_says_how_far_it_is(small_model, blobs, told, train):
    train(small_model, blobs)
    assert {each.epochs for each in told} == {3}
    assert [each.epoch for each in told] == sorted(each.epoch for each in told)
    assert all(np.isfinite(each.loss) and each.seconds >= 0 for each in told)
    *during, last = told
    assert all(each.seconds_left > 0 for each in during)
    assert (last.epoch, last.seconds_left) == (3, 0)
    assert str(last).startswith("3 epochs in ")


def test_nobody_is_told_more_than_once_a_second(small_model, blobs, monkeypatch):
    clock = iter(np.arange(0, 1000, 0.25))  # a quarter of a second for every look at it
    fake = SimpleNamespace(monotonic=lambda: float(next(clock)))
    monkeypatch.setattr(training_progress, "time", fake)
    heard = []
    watch_training(heard.append)
    fit(small_model, blobs, 2, batch_size=4)  # 2 × 26 batches
    watch_training(None)
    assert 8 <= len(heard) <= 20


def test_a_watched_training_gives_the_same_weights(small_model, blobs, told):
    start = small_model.get_weights()
    results = []
    for watcher in (told.append, None):
        watch_training(watcher)
        small_model.set_weights(start)
        keras.utils.set_random_seed(0)
        fit(small_model, blobs, 2)
        results.append(small_model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_time_of_a_pass_grows_with_the_samples_and_trains_nothing(small_model, blobs):
    before = small_model.get_weights()
    assert seconds_per_pass(small_model, blobs) > 0
    for one, other in zip(before, small_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (42, "42 s"), (720, "12 min"), (12_600, "3.5 h"), (200_000, "2.3 days")],
)
def test_a_duration_is_said_in_one_unit(seconds, words):
    assert duration(seconds) == words
