from types import SimpleNamespace

import numpy as np
import pytest

from leankeras.errors import MeasurementError
from leankeras.runtime import latency
from leankeras.runtime.intervals import median_interval, verdict
from leankeras.runtime.latency import compare_latency

SAMPLE = np.zeros((1, 16, 2), np.float32)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(latency, "BLOCK_SECONDS", 0.04)
    # the tests do not depend on whether the machine is busy
    monkeypatch.setattr(latency, "BUSY_CPU_SHARE", 0)


class DisturbedMachine:
    """A clock on which every call takes its own time and now and then longer.

    Three quarters of the time a neighbour is at work, which slows small models by more; where
    ``regimes`` are long, whole blocks are disturbed.
    """

    def __init__(self, regime_seconds=1.0):
        self.now, self.regime_seconds = 0.0, regime_seconds
        self.random = np.random.default_rng(0)
        self.until, self.disturbed = 0.0, False

    def perf_counter(self):
        return self.now

    process_time = perf_counter

    def target(self, seconds, slowdown=1.0):
        def call(*sample):
            if self.now >= self.until:
                self.disturbed = self.random.random() < 0.75
                self.until = self.now + self.random.exponential(self.regime_seconds)
            self.now += seconds * (slowdown if self.disturbed else 1)

        return call


@pytest.fixture
def machine(monkeypatch):
    """A machine whose clock only calls move on."""
    machine = DisturbedMachine()
    monkeypatch.setattr(latency, "time", machine)
    return machine


def test_more_work_is_slower_and_less_is_faster(machine):
    comparison = compare_latency(
        {
            "base": machine.target(30e-6),
            "more": machine.target(60e-6),
            "less": machine.target(15e-6),
        },
        SAMPLE,
    )
    assert comparison.table.verdict.to_dict() == {
        "base": "reference",
        "more": "slower",
        "less": "faster",
    }
    row = comparison.table.loc["more"]
    assert row.us == pytest.approx(60)
    assert row.ratio == pytest.approx(2)
    assert 1 < row.ratio_low <= row.ratio <= row.ratio_high
    assert row.us_low <= row.us <= row.us_high <= row.p95_us * 1.5
    assert comparison.blocks == latency.BLOCKS


def test_cold_caches_weigh_on_slow_and_fast_alike(monkeypatch):
    now, last = [0.0], [None]

    def target(name, seconds):
        """A call that takes longer after another target's."""

        def call():
            now[0] += seconds + (0 if last[0] == name else 50e-6)
            last[0] = name

        return call

    clock = SimpleNamespace(perf_counter=lambda: now[0], process_time=lambda: now[0])
    monkeypatch.setattr(latency, "time", clock)
    calls = {"slow": [target("slow", 300e-6)], "fast": [target("fast", 3e-6)]}
    assert latency.paired_rounds(calls).ratio("slow", "fast")[0] == pytest.approx(100)


def test_the_reference_can_be_any_of_them(machine):
    targets = {"a": machine.target(3e-6), "b": machine.target(300e-6)}
    comparison = compare_latency(targets, SAMPLE, reference="b")
    assert comparison.table.ratio["b"] == 1
    assert comparison.table.verdict["a"] == "faster"
    assert comparison.speedup("a").endswith("]")


def test_keras_models_and_files_are_targets(small_model, tmp_path):
    small_model.save(tmp_path / "model.keras")
    small_model.export(tmp_path / "saved", verbose=False)
    targets = {"model": small_model, "keras": tmp_path / "model.keras", "saved": tmp_path / "saved"}
    assert (compare_latency(targets, SAMPLE).table.us > 0).all()


@pytest.mark.parametrize(
    ("targets", "reference", "message"),
    [
        ({}, None, "no targets"),
        ({"a": len}, "b", "'b' is not among a"),
        ({"a": 3}, None, "cannot run a int"),
        (
            {"a": lambda x: 1 / 0},
            None,
            "does not run on the sample: ZeroDivisionError: division by zero",
        ),
    ],
)
def test_what_cannot_be_timed_is_refused(targets, reference, message):
    with pytest.raises(MeasurementError, match=message):
        compare_latency(targets, SAMPLE, reference)


def test_a_busy_machine_cannot_tell(machine, monkeypatch):
    monkeypatch.setattr(latency, "BUSY_CPU_SHARE", 1.1)
    targets = {"a": machine.target(3e-6), "b": machine.target(300e-6)}
    comparison = compare_latency(targets, SAMPLE)
    assert comparison.table.verdict["b"] == "cannot tell"
    assert comparison.conditions.endswith("too busy to tell")


def test_the_interval_holds_the_median_and_narrows_with_more_rounds():
    random = np.random.default_rng(1)
    few, many = random.normal(1, 0.1, 40), random.normal(1, 0.1, 4000)
    widths = []
    for values in (few, many):
        median, low, high = median_interval(values)
        assert low <= median <= high
        assert low < 1 < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


def test_an_interval_that_holds_1_cannot_tell():
    assert verdict(0.8, 0.99) == "faster"
    assert verdict(0.9, 1.1) == "cannot tell"
    assert verdict(1.01, 1.2) == "slower"


def test_what_drifts_between_comparisons_widens_the_interval():
    values = np.random.default_rng(1).normal(2, 0.02, 12)
    median, low, high = median_interval(values)
    same, lower, higher = median_interval(values, drift=0.03)
    assert same == median
    assert median / lower == pytest.approx(np.exp(np.hypot(np.log(median / low), 0.03)))
    assert higher / median == pytest.approx(np.exp(np.hypot(np.log(high / median), 0.03)))


@pytest.mark.parametrize("regime_seconds", [0.002, 0.02])
def test_the_ratio_is_that_of_an_undisturbed_machine(monkeypatch, regime_seconds):
    machine = DisturbedMachine(regime_seconds)
    monkeypatch.setattr(latency, "time", machine)
    monkeypatch.setattr(latency, "BLOCK_SECONDS", 0.25)
    calls = {"slow": [machine.target(300e-6, 1.2)], "fast": [machine.target(10e-6, 1.6)]}
    ratio, low, high = latency.paired_rounds(calls).ratio("slow", "fast")
    assert ratio == pytest.approx(30, rel=0.01)
    assert low <= 30 <= high


def test_the_interval_is_wide_where_the_machine_changes_its_pace(monkeypatch):
    machine = DisturbedMachine(regime_seconds=1.0)
    monkeypatch.setattr(latency, "time", machine)
    monkeypatch.setattr(latency, "BLOCK_SECONDS", 0.25)
    calls = {"slow": [machine.target(300e-6, 1.0)], "fast": [machine.target(10e-6, 1.5)]}
    rounds = latency.paired_rounds(calls)
    _, low, high = rounds.ratio("slow", "fast")
    assert high / low > 1.3  # since the two paces differ by a factor of 1.5
