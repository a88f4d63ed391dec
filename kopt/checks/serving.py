"""Exercises on serving: how long requests stay, how long they may wait, and what a hash costs."""

from typing import Any

from kopt.checks.check import Check, check_number


def time_in_system(answer: Any, inside: float, per_second: float) -> Check:
    """The milliseconds that a request spends in a server with so many inside, by Little's law.

    Example:
        >>> time_in_system(320, inside=32, per_second=100)
        right: 32 inside and 100 answered a second: 320 ms for each
    """
    mean = 1000 * inside / per_second
    return check_number(
        answer,
        mean,
        task="the mean time of a request in ms",
        because=f"{inside:g} inside and {per_second:.3g} answered a second: {mean:.3g} ms for each",
        hint="how long does it take until all that are inside have been answered?",
        mistakes=(
            (1000 / per_second, "that is the time between two answers; how many are before it?"),
            (inside * per_second, "L = λW: which of the three do you know already?"),
        ),
    )


def longest_batch_time(answer: Any, limit_ms: float, batch_ms: float, way_ms: float) -> Check:
    """The milliseconds that a request may wait for others and still be answered within a limit.

    Example:
        >>> longest_batch_time(108, limit_ms=150, batch_ms=40, way_ms=2)
        right: 108 ms: what the batch and the way leave of 150 ms
    """
    left = limit_ms - batch_ms - way_ms
    return check_number(
        answer,
        left,
        task="the longest batch time in ms",
        because=f"{left:.3g} ms: what the batch and the way leave of {limit_ms:g} ms",
        hint="a request waits, then its batch runs, and it has to get there and back",
        mistakes=(
            (limit_ms - way_ms, "and then the batch still has to run"),
            (left - batch_ms, "the server is idle: no batch runs before its own"),
        ),
        tolerance=0.02,
    )


def repeats_that_pay(answer: Any, hash_us: float, model_us: float) -> Check:
    """The share of repeated requests, a fraction, above which a cache saves time.

    Example:
        >>> repeats_that_pay(0.05, hash_us=5, model_us=100)
        right: above 5 %: below that, the hashes cost more than the spared runs
    """
    share = hash_us / model_us
    return check_number(
        answer,
        share,
        task="a share of repeats, from 0 to 1",
        because=f"above {100 * share:.2g} %: below that, the hashes cost more than the spared runs",
        hint="what does a request cost on average, with a share p of repeats?",
        mistakes=(
            (1 / share, "upside down: a share is at most 1"),
            (1 - share, "that is the share of requests that may be new"),
        ),
        tolerance=0.03,
    )
