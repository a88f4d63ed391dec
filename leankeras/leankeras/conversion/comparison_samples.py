"""The samples for comparing a file with its model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leankeras.conversion.calibration import check_samples
from leankeras.conversion.signature import Arrays, InputSpec, invented_samples, named_arrays
from leankeras.errors import DataError

INVENTED = 16
MOST_BYTES = 2**28


@dataclass(frozen=True)
class ComparisonSamples:
    """Samples in random order, so the first of them are always a fair choice.

    Attributes:
        samples: input name to samples, ``(n, ...)``.
        rows: the row of each one in the evaluation samples; -1 if it is not one of them.
    """

    samples: dict[str, np.ndarray]
    rows: np.ndarray


def choose_samples(
    inputs: Mapping[str, InputSpec],
    calibration: Mapping[str, np.ndarray] | None,
    evaluation: Arrays | None,
) -> ComparisonSamples:
    """All samples that the user gave, shuffled; normally distributed ones if there are none.

    Args:
        inputs: the model's inputs.
        calibration: checked samples by input name.
        evaluation: the user's evaluation samples, unchecked.

    Raises:
        DataError: the evaluation samples do not fit the model.
    """
    pools = [dict(calibration)] if calibration else []
    counts = [len(next(iter(calibration.values())))] if calibration else []
    if evaluation is not None:
        arrays = named_arrays(evaluation, list(inputs))
        pools.append({name: check_samples(arrays[name], name, inputs[name]) for name in inputs})
        lengths = {name: len(array) for name, array in pools[-1].items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"evaluation has different numbers of samples: {lengths}")
        counts.append(next(iter(lengths.values())))
    if not pools:
        return ComparisonSamples(invented_samples(inputs, INVENTED), np.full(INVENTED, -1))
    rows = np.full(sum(counts), -1)
    if evaluation is not None:
        rows[len(rows) - counts[-1] :] = np.arange(counts[-1])
    size = sum(array[0].nbytes for array in pools[0].values())
    order = np.random.default_rng(0).permutation(len(rows))[: max(INVENTED, MOST_BYTES // size)]
    samples = {name: np.concatenate([pool[name] for pool in pools])[order] for name in inputs}
    return ComparisonSamples(samples, rows[order])
