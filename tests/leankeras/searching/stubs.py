"""Trials of no work, whose outcomes follow from their candidates alone, but for the latencies."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from leankeras.budget import Budget
from leankeras.searching import (
    Candidate,
    Clock,
    Goal,
    Space,
    Tasks,
    ThisProcess,
    Trials,
    in_rounds,
)
from leankeras.task import Task

EPOCHS = {"prune": 4, "distil": 8, "qat": 2}
GROUPS = (("conv", 16, 1.0), ("conv2", 32, 0.3))
DEFAULT = Candidate({"conv": 0.5, "conv2": 0.5}, distil_epochs=8, temperature=4.0)
SPACE = Space(GROUPS, ("float32", "int8"), EPOCHS, ("logits",), True, 0.5, DEFAULT)
SCORE = Task.classification().score.merit
GOAL = Goal("fastest", Budget(accuracy_loss=0.02), SCORE)


def width(candidate):
    return 1 - sum(candidate.shares.values()) / len(GROUPS)


class Stubs:
    """Counts what is done; latencies are as noisy as asked."""

    def __init__(self, noise=0.0, seed=None):
        self.done, self._noise, self._random = [], noise, np.random.default_rng(seed)

    def tasks(self):
        return Tasks(self.untrained, self.timed, self.short, self.full)

    def untrained(self, shared, candidate, path):
        self.done.append(("untrained", path.stem))
        cost = 1000 * width(candidate) * (0.4 if candidate.mode == "int8" else 1) + 100
        return {"costs": [cost, cost, cost], "size_kb": cost / 50}

    def timed(self, shared, files):
        rows = {}
        for name in files:
            us = 10 * (1 + self._noise * self._random.normal())
            rows[name] = {"us": us, "us_low": 0.9 * us, "us_high": 1.1 * us}
            rows[name] |= {"ratio": us / 10, "ratio_low": us / 11, "ratio_high": us / 9}
        return pd.DataFrame.from_dict(rows, orient="index")

    def short(self, shared, candidate, path):
        self.done.append(("short", path.stem))
        return {"short_lost": 0.1 * (1 - width(candidate))}

    def full(self, shared, candidate, path):
        self.done.append(("full", path.stem))
        path.write_bytes(b"file")
        lost = 0.08 * (1 - width(candidate)) - 0.01 * (candidate.temperature is not None)
        figures = {"lost": lost, "lost_low": lost - 0.01, "lost_high": lost + 0.01, "score": 0.9}
        return figures | {"size_kb": 20 * width(candidate)}


def run(folder, stubs, most, goal=GOAL, sampler="tpe", seed=0):
    """A search of no work in a folder, which may have been begun."""
    trials = Trials(folder / "journal.log", goal, SPACE, sampler, seed)
    reference = folder / "reference.tflite"
    pool = ThisProcess(None)
    in_rounds(trials, pool, folder, reference, Clock(None), most, tasks=stubs.tasks())
    return trials


def candidates(trials):
    return [trials.candidate(number).to_json() for number in sorted(trials.outcomes())]


class Slow(Stubs):
    """Leaves time to be killed in."""

    def full(self, *arguments):
        print("at work", flush=True)
        time.sleep(0.5)
        return super().full(*arguments)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Slow(), 24)
    os._exit(0)
