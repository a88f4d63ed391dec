"""Exercises on speed: what a faster part does for the whole, and who sees which figure."""

from typing import Any

from kopt.checks.check import Check, check_number, no_question

PRINTED = 0.005  # half of the last digit of a share shown as a whole percentage


def best_speedup(answer: Any, share: float) -> Check:
    """The largest speed-up of a model when only one layer is made faster.

    Amdahl's law in the limit: the rest of the time, ``1 - share``, remains (G. M. Amdahl,
    "Validity of the single processor approach", 1967).

    Args:
        answer: the number, such as 2.5.
        share: the layer's share of the time of one inference, a fraction.

    Example:
        >>> best_speedup(4.0, share=0.75)
        right: at most 4×, whatever is done to this layer; the other 25% remain
    """
    if not share < 1 - PRINTED:
        return no_question(f"the measured share is {share:.0%}, leaving nothing for the rest")
    rest = 1 - share
    return check_number(
        answer,
        1 / rest,
        task="the largest possible speed-up of the model, a number of 1 or more",
        because=f"at most {1 / rest:.3g}×, whatever is done to this layer; the other {rest:.0%} "
        "remain",
        hint="let the total be 1 and ask what remains of it when the layer takes no time",
        mistakes=(
            (rest, "that is the remaining time; a speed-up is the old time over the new one"),
            (1 / share if share > 0 else 0, "that would hold if only this layer remained"),
            (share, "that is the share; a speed-up is the old time over the new one"),
            (1 / rest - 1, "one too small: twice as fast is 2, not 1"),
            (100 * (1 / rest - 1), "that is how many per cent faster it is; how many times?"),
            (100 * share, "that is the share in per cent; a speed-up is old time over new time"),
            (100 * rest, "that is the rest in per cent; a speed-up is old time over new time"),
            (1 + share, "removing a share is not adding it: halving the time doubles the speed"),
        ),
        tolerance=0.01 + PRINTED / rest,
    )


def seen_speedup(answer: Any, call_us: float, layer_us: float) -> Check:
    """The speed-up that one way of calling a model would show if a layer took no time.

    Args:
        answer: the number, such as 1.1.
        call_us: the time of one call, microseconds.
        layer_us: the layer's part of it, microseconds.

    Example:
        >>> seen_speedup(1.02, call_us=51_000, layer_us=1_000)
        right: 1.02× is all that shows; the call itself takes the rest
    """
    left = call_us - layer_us
    if not 0 < left <= call_us:
        return no_question("the layer's measured time is longer than the call, or negative")
    share = layer_us / call_us
    return check_number(
        answer,
        call_us / left,
        task="the speed-up that would show, a number of 1 or more",
        because=f"{call_us / left:.4g}× is all that shows; the call itself takes the rest",
        hint="the new time of a call is the old one minus what the layer took",
        mistakes=(
            (left / call_us, "upside down: a speed-up is the old time over the new one"),
            (
                1 / share if share else 0,
                "that is the call divided by the layer; divide by what is left",
            ),
            (left, "that is the remaining time in µs; how many times faster is that?"),
            (share, "that is the layer's part of the call; a speed-up is old time over new time"),
            (1, "almost, but the layer's time does go away; give three decimals"),
        ),
        tolerance=0.006,  # the point is a gain of about 1 %: 1 must not pass for 1.01
    )


def model_speedup(answer: Any, whole_us: float, before_us: float, after_us: float) -> Check:
    """The speed-up of a model when one layer's time changes and the rest stays (Amdahl's law).

    Args:
        answer: the number, such as 2.5.
        whole_us: one inference of the original model, microseconds.
        before_us: the layer's part of it.
        after_us: the time of the rewritten layer.

    Example:
        >>> model_speedup(2.5, whole_us=1000, before_us=800, after_us=200)
        right: Amdahl's law predicts 2.5×; the layer itself went from 800 to 200 µs
    """
    new = whole_us - before_us + after_us
    if min(before_us, new) <= 0:
        return no_question("no layer was rewritten, or its time is lost in the noise")
    share, gain = before_us / whole_us, before_us / max(after_us, 1e-9)  # noise may make it 0
    return check_number(
        answer,
        whole_us / new,
        task="the speed-up of the model, a number",
        because=f"Amdahl's law predicts {whole_us / new:.3g}×; the layer itself went "
        f"from {before_us:,.0f} to {after_us:,.0f} µs",
        hint="how long does the layer take afterwards, and how long does everything else take?",
        mistakes=(
            (gain, "that is the layer alone; the other layers are as slow as before"),
            (new / whole_us, "upside down: a speed-up is the old time over the new one"),
            (1 / (1 - share) if share < 1 else 0, "that is the limit, if the layer takes no time"),
            (share * gain, "a share of a speed-up means nothing; add up the times, then divide"),
            (1 + share * (gain - 1), "speed-ups cannot be averaged; add up the times, then divide"),
            (new, "that is the new time in µs; how many times faster is that?"),
        ),
        tolerance=0.03,
    )


def batch_wait(answer: Any, us_per_sample: float, batch: int) -> Check:
    """How long a request waits for its result when samples are run in batches.

    Args:
        answer: microseconds.
        us_per_sample: the time of a batch divided by its size, microseconds.
        batch: number of samples in a batch.

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
            (us_per_sample, "that is the cost per sample, not the time until a result is there"),
            (us_per_sample / batch, "the table is already per sample; do not divide again"),
            (whole / 2, "results do not come out one by one but all together"),
        ),
        tolerance=0.02,
    )


def runtime_part(answer: Any, against_other: float, against_same: float) -> Check:
    """How much of a speed-up comes from changing the runtime alone.

    Args:
        answer: the number, such as 8.
        against_other: how many times faster the final model is than the slow one in its original
            runtime.
        against_same: how many times faster it is than the slow model in the final runtime.

    Example:
        >>> runtime_part(8, against_other=400, against_same=50)
        right: 400× is 8× for the runtime, which the slow model would gain too, times 50×
    """
    part = against_other / against_same
    return check_number(
        answer,
        part,
        task="how many times faster the slow model gets by changing the runtime, a number",
        because=f"{against_other:.3g}× is {part:.3g}× for the runtime, which the slow model would "
        f"gain too, times {against_same:.3g}×",
        hint="first the slow model changes runtime, then the final model replaces it",
        mistakes=(
            (against_other - against_same, "successive speed-ups multiply"),
            (against_same, "that is the gain of the model; how much is left for the runtime?"),
            (against_other, "that is both together; divide out the gain of the model"),
            (1 / part, "upside down: it is faster in the new runtime"),
            (against_other * against_same, "that counts the gain of the model twice"),
        ),
        tolerance=0.03,
    )
