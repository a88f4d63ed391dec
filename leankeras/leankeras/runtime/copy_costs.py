"""The cost of copying samples into LiteRT and results out of it."""

from pathlib import Path

import pandas as pd

from leankeras.arrays import Arrays
from leankeras.runtime.latency import compare_latency
from leankeras.runtime.litert import LiteRTModel


def copying(litert: str | Path, sample: Arrays) -> pd.DataFrame:
    """The cost of copying in and out of LiteRT, and what writing in place saves.

    Returns:
        As :func:`leankeras.compare_latency`: "copy in, run, copy out"; "written in place" (into the
        interpreter's own memory, and read there); "run only".
    """
    copied, in_place, alone = (LiteRTModel(litert) for _ in range(3))
    tensor = in_place.interpreter.tensor
    (arrays,) = in_place.samples(sample)
    pairs = [
        (tensor(details["index"]), arrays[name]) for name, details in in_place.input_details.items()
    ]
    target = tensor(next(iter(in_place.output_details.values()))["index"])

    def run_in_place(_: Arrays) -> float:
        for write, array in pairs:
            write()[...] = array  # with a view kept during the run LiteRT would refuse to run
        in_place.invoke()
        return target().flat[0]

    alone.set_inputs(arrays)
    bound = copied.bind(sample)
    return compare_latency(
        {
            "copy in, run, copy out": lambda _: bound(),
            "written in place": run_in_place,
            "run only": lambda _: alone.invoke(),
        },
        sample,
    ).table
