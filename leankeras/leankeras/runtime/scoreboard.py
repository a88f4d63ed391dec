"""Files side by side: score, size and latency of each."""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from leankeras.arrays import first
from leankeras.data import Data
from leankeras.runtime.latency import compare_latency
from leankeras.runtime.scores import compare_scores


def compare_files(
    files: Mapping[Any, str | Path],
    data: Data,
    part: str = "val",
    reference: Any = None,
) -> tuple[pd.DataFrame, str]:
    """Score, size and latency of several files, against one of them.

    Args:
        files: name to the path of a ``.tflite``.
        data: whose samples they are scored on; the latency is measured on the first test sample.
        part: "val" or "test".
        reference: a name in ``files``; by default the first.

    Returns:
        A table indexed by name: the score, and what is lost of it with its interval, as
        :func:`.compare_scores` gives them; ``size_kb`` and ``gzip_kb`` (1000 bytes); and what
        :func:`leankeras.compare_latency` gives. And the conditions of the latencies, in a line.

    Example:
        >>> table, _ = compare_files({"a": "a.tflite", "b": "b.tflite"}, data)
    """
    contents = [Path(path).read_bytes() for path in files.values()]
    sizes = pd.DataFrame(
        {
            "size_kb": [len(content) / 1000 for content in contents],
            "gzip_kb": [len(gzip.compress(content)) / 1000 for content in contents],
        },
        index=pd.Index(list(files), name="target"),
    )
    comparison = compare_latency(files, first(data.samples("test")), reference)
    scores = compare_scores(files, data, part, reference)
    return scores.join(sizes).join(comparison.table), comparison.conditions
