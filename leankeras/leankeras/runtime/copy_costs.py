"""The cost of copying samples into LiteRT and results out of it."""

from pathlib import Path

import numpy as np
import pandas as pd

from leankeras.runtime.latency import compare_latency
from leankeras.runtime.litert import LiteRTModel


def copying(litert: str | Path, sample: np.ndarray) -> pd.DataFrame:
    """The cost of copying in and out of LiteRT, and what writing in place saves.

    Returns:
        As :func:`leankeras.compare_latency`: "copy in, run, copy out"; "written in place" (into the
        interpreter's own memory, and read there); "run only".
    """
    copied, in_place, alone = (LiteRTModel(litert) for _ in range(3))
    (source,) = in_place.input_details.values()
    (target,) = in_place.output_details.values()
    write = in_place.interpreter.tensor(source["index"])
    read = in_place.interpreter.tensor(target["index"])

    def run_in_place(x: np.ndarray) -> float:
        write()[...] = x  # with a view kept during the run LiteRT would refuse to run
        in_place.invoke()
        return read()[0, 0]

    alone.set_inputs({name: sample for name in alone.input_details})
    bound = copied.bind(sample)
    return compare_latency(
        {
            "copy in, run, copy out": lambda _: bound(),
            "written in place": run_in_place,
            "run only": lambda _: alone.invoke(),
        },
        sample,
    ).table
