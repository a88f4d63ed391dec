"""The accuracy, size and latency of files side by side."""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leankeras.runtime.accuracy import compare_accuracy
from leankeras.runtime.latency import compare_latency


def compare_files(
    files: Mapping[Any, str | Path],
    x: np.ndarray,
    y: np.ndarray,
    sample: np.ndarray,
    reference: Any = None,
) -> tuple[pd.DataFrame, str]:
    """Accuracy, size and latency of several files, against one of them.

    Args:
        files: name to the path of a ``.tflite``.
        x: samples to score on, shape ``(n, ...)``.
        y: class indices, shape ``(n,)``.
        sample: input for measuring the latency, shape ``(1, ...)``.
        reference: a name in ``files``; by default the first.

    Returns:
        A table indexed by name: ``accuracy``, and ``accuracy_lost`` with its interval, from
        :func:`.compare_accuracy`; ``size_kb`` and ``gzip_kb`` (1000 bytes); and the columns of
        :func:`leankeras.compare_latency`. Then the conditions of the latencies, in one line.

    Example:
        >>> table, _ = compare_files({"a": "a.tflite", "b": "b.tflite"}, x_val, y_val, x_val[:1])
    """
    contents = [Path(path).read_bytes() for path in files.values()]
    sizes = pd.DataFrame(
        {
            "size_kb": [len(content) / 1000 for content in contents],
            "gzip_kb": [len(gzip.compress(content)) / 1000 for content in contents],
        },
        index=pd.Index(list(files), name="target"),
    )
    comparison = compare_latency(files, sample, reference)
    scores = compare_accuracy(files, x, y, reference)
    return scores.join(sizes).join(comparison.table), comparison.conditions
