"""Exercises on serving: how long requests stay, how long they may wait, and what a hash costs."""

from typing import Any

from kopt.checks.check import Check, check_number, no_question


def time_in_system(answer: Any, inside: float, per_second: float) -> Check:
    """The mean time that a request spends in a server, by Little's law, in milliseconds.

    J. D. C. Little, "A proof for the queuing formula L = λW", 1961.

    Args:
        answer: milliseconds.
        inside: requests in the system at any time.
        per_second: how many are answered in a second.

    Example:
        >>> time_in_system(320, inside=32, per_second=100)
        right: 32 requests inside and 100 answered a second: 320 ms for each
    """
    mean = 1000 * inside / per_second
    return check_number(
        answer,
        mean,
        task="the mean time of a request in ms",
        because=f"{inside:g} requests inside and {per_second:.3g} answered a second: {mean:.3g} ms "
        "for each",
        hint="how long does it take until all that are inside have been answered?",
        mistakes=(
            (1000 / per_second, "that is the time between two answers; how many are before it?"),
            (per_second / inside, "that is how often one caller is answered in a second"),
            (inside * per_second, "L = λW: which of the three do you know already?"),
        ),
    )


def longest_batch_time(answer: Any, limit_ms: float, batch_ms: float, way_ms: float) -> Check:
    """How long a request may wait for others if it is to be answered in time, in milliseconds.

    Args:
        answer: milliseconds.
        limit_ms: within which it is to be answered.
        batch_ms: what a full batch takes.
        way_ms: what a request costs besides.

    Example:
        >>> longest_batch_time(108, limit_ms=150, batch_ms=40, way_ms=2)
        right: 108 ms: what the batch and the way leave of 150 ms
    """
    left = limit_ms - batch_ms - way_ms
    if left <= 0:
        return no_question(f"a full batch takes {batch_ms:.3g} ms, too long for {limit_ms:g} ms")
    return check_number(
        answer,
        left,
        task="the longest batch time in ms",
        because=f"{left:.3g} ms: what the batch and the way leave of {limit_ms:g} ms",
        hint="a request waits, then its batch runs, and it has to get there and back",
        mistakes=(
            (limit_ms, "and then the batch still has to run"),
            (limit_ms - way_ms, "and then the batch still has to run"),
            (limit_ms - 2 * batch_ms - way_ms, "the server is idle: no batch runs before its own"),
        ),
        tolerance=0.03,
    )


def repeats_that_pay(answer: Any, hash_us: float, model_us: float) -> Check:
    """The share of repeated requests above which a cache saves time.

    Args:
        answer: a fraction.
        hash_us: what the hash of a request takes.
        model_us: what the model takes.

    Example:
        >>> repeats_that_pay(0.05, hash_us=5, model_us=100)
        right: above 5 %: below that, the hashes cost more than the spared runs
    """
    share = hash_us / model_us
    if share >= 1:
        return no_question("the hash takes longer than the model: no share of repeats pays")
    return check_number(
        answer,
        share,
        task="a share of repeats, from 0 to 1",
        because=f"above {100 * share:.2g} %: below that, the hashes cost more than the spared runs",
        hint="what does a request cost on average, with a share p of repeats?",
        mistakes=(
            (1 / share, "upside down: a share is at most 1"),
            (1 - share, "that is the share of requests that may be new"),
            (share / (1 + share), "a request that misses costs both; one that hits, only the hash"),
        ),
        tolerance=0.03,
    )
