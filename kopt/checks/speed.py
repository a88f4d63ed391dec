"""Exercises on speed: what a faster part does for the whole, and for whom a figure holds."""

from typing import Any

from kopt.checks.check import Check, check_number, no_question

PRINTED = 0.005  # half of the last digit of a share that is shown as a whole per cent


def best_speedup(answer: Any, share: float) -> Check:
    """How many times faster a model can get at most when only one layer is made faster.

    Amdahl's law in the limit: the rest of the time, ``1 - share``, stays (G. M. Amdahl,
    "Validity of the single processor approach", 1967).

    Args:
        answer: the number, such as 2.5.
        share: of the layer in the time of one inference, a fraction.

    Example:
        >>> best_speedup(4.0, share=0.75)
        right: at most 4×, whatever is done to this layer; the other 25 % stay
    """
    if not share < 1 - PRINTED:
        return no_question(f"the share was measured as {share:.0%}, which leaves no rest")
    rest = 1 - share
    return check_number(
        answer,
        1 / rest,
        task="the largest possible speed-up of the model, a number of 1 or more",
        because=f"at most {1 / rest:.3g}×, whatever is done to this layer; the other {rest:.0%} "
        "stay",
        hint="let the whole take 1 and ask what is left of it when the layer takes nothing",
        mistakes=(
            (rest, "that is the time that is left; a speed-up is the old time over the new one"),
            (1 / share if share > 0 else 0, "that would be the speed-up if only this layer stayed"),
            (share, "that is the share; a speed-up is the old time over the new one"),
            (1 / rest - 1, "one too small: twice as fast is 2, not 1"),
            (100 * (1 / rest - 1), "that is by how many per cent it is faster; how many times?"),
            (100 * share, "that is the share in per cent; a speed-up is old time over new time"),
            (100 * rest, "that is the rest in per cent; a speed-up is old time over new time"),
            (1 + share, "taking a share away is not adding it: halving the time doubles the speed"),
        ),
        tolerance=0.01 + PRINTED / rest,
    )


def seen_speedup(answer: Any, call_us: float, layer_us: float) -> Check:
    """The speed-up that one way of calling a model would show if a layer cost nothing.

    Args:
        answer: the number, such as 1.1.
        call_us: what one call takes in this way, microseconds.
        layer_us: what of it the layer takes, microseconds.

    Example:
        >>> seen_speedup(1.02, call_us=51_000, layer_us=1_000)
        right: 1.02× is all that can be seen; the call itself takes the rest
    """
    left = call_us - layer_us
    if not 0 < left <= call_us:
        return no_question(
            "the layer was measured to take more than the call, or less than nothing"
        )
    share = layer_us / call_us
    return check_number(
        answer,
        call_us / left,
        task="the speed-up that would be seen, a number of 1 or more",
        because=f"{call_us / left:.4g}× is all that can be seen; the call itself takes the rest",
        hint="the new time of a call is the old one less what the layer took",
        mistakes=(
            (left / call_us, "upside down: a speed-up is the old time over the new one"),
            (
                1 / share if share else 0,
                "that is the call over the layer; put it over what is left",
            ),
            (left, "that is the time that is left, in µs; how many times faster is that?"),
            (share, "that is the layer's part of the call; a speed-up is old time over new time"),
            (1, "nearly, but the layer's time does go away; give three decimals"),
        ),
        tolerance=0.006,  # a gain of 1 % is the point: 1 must not pass for 1.01
    )


def model_speedup(answer: Any, whole_us: float, before_us: float, after_us: float) -> Check:
    """What a model gains when one layer takes another time and all else stays (Amdahl's law).

    Args:
        answer: the number, such as 2.5.
        whole_us: one inference of the model before, microseconds.
        before_us: what of it the layer took.
        after_us: what the rewritten layer takes.

    Example:
        >>> model_speedup(2.5, whole_us=1000, before_us=800, after_us=200)
        right: 2.5× is what Amdahl's law promises; the layer by itself went from 800 to 200 µs
    """
    new = whole_us - before_us + after_us
    if min(before_us, new) <= 0:
        return no_question("no layer was rewritten, or its time is lost in the noise")
    share, gain = before_us / whole_us, before_us / max(after_us, 1e-9)  # noise may make it 0
    return check_number(
        answer,
        whole_us / new,
        task="the speed-up of the model, a number",
        because=f"{whole_us / new:.3g}× is what Amdahl's law promises; the layer by itself went "
        f"from {before_us:,.0f} to {after_us:,.0f} µs",
        hint="what does the layer take afterwards, and what does everything else take?",
        mistakes=(
            (gain, "that is the layer's own speed-up; the other layers stay as slow as they were"),
            (new / whole_us, "upside down: a speed-up is the old time over the new one"),
            (1 / (1 - share) if share < 1 else 0, "that is the limit, for a layer that costs 0"),
            (share * gain, "a share of a speed-up means nothing; add up times, then divide"),
            (1 + share * (gain - 1), "speed-ups cannot be averaged; add up times, then divide"),
            (new, "that is the new time, in µs; how many times faster is that?"),
        ),
        tolerance=0.03,
    )


def batch_wait(answer: Any, us_per_sample: float, batch: int) -> Check:
    """How long whoever waits for a result waits when samples are run in batches.

    Args:
        answer: microseconds.
        us_per_sample: the time of a batch divided by its size, microseconds.
        batch: samples in it.

    Example:
        >>> batch_wait(3200, us_per_sample=100, batch=32)
        right: all 32 wait for the whole batch, 3,200 µs, besides the time it takes to fill
    """
    whole = us_per_sample * batch
    return check_number(
        answer,
        whole,
        task="the wait for one result, in µs",
        because=f"all {batch} wait for the whole batch, {whole:,.0f} µs, besides the time it takes "
        "to fill",
        hint="when does the first result of a batch come out, and when the last?",
        mistakes=(
            (us_per_sample, "that is the time a sample costs, not the time until it is done"),
            (us_per_sample / batch, "the table is per sample already; do not divide once more"),
            (whole / 2, "results do not come out one by one; they come out together"),
        ),
        tolerance=0.02,
    )


def runtime_part(answer: Any, against_other: float, against_same: float) -> Check:
    """How much of a speed-up comes from changing the runtime alone.

    Args:
        answer: the number, such as 8.
        against_other: how many times faster the final model is than the slow one in the slow
            one's runtime.
        against_same: the same with the slow model in the final runtime.

    Example:
        >>> runtime_part(8, against_other=400, against_same=50)
        right: 400× is 8× for the runtime, which the slow model gains too, times 50×
    """
    part = against_other / against_same
    return check_number(
        answer,
        part,
        task="how many times faster the slow model gets by changing the runtime, a number",
        because=f"{against_other:.3g}× is {part:.3g}× for the runtime, which the slow model gains "
        f"too, times {against_same:.3g}×",
        hint="first the slow model changes its runtime, then it is replaced by the final one",
        mistakes=(
            (against_other - against_same, "speed-ups that follow each other multiply"),
            (against_same, "that is what the model gained; what is left for the runtime?"),
            (against_other, "that is both together; take the model's own gain out of it"),
            (1 / part, "upside down: it is faster in the other runtime"),
            (against_other * against_same, "that counts the model's own gain twice"),
        ),
        tolerance=0.03,
    )
