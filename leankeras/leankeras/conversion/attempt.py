"""Conversions of one exported model, each run and compared with the model on the same samples."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from leankeras.arrays import read_arrays, write_arrays
from leankeras.child import JobError
from leankeras.conversion import converter
from leankeras.conversion.comparison_samples import ComparisonSamples
from leankeras.conversion.difference import output_parts
from leankeras.conversion.export import Export
from leankeras.conversion.refusal import Unsuited, explain
from leankeras.conversion.score import Score, score
from leankeras.conversion.tensor_types import check_types
from leankeras.conversion.verification import Verdict, judge
from leankeras.errors import ParameterError
from leankeras.modes import INTEGER_MODES
from leankeras.runtime import TFLiteFile

SHARE = 0.1  # of the conversion time so far, spent on running the model, and again on the file
LEAST_SECONDS = 2.0
MOST_SECONDS = 10.0
LOCATING = 15  # samples used besides the worst to show where a file is wrong


class LayerError(NamedTuple):
    """The largest operator errors of a layer, as in :class:`.operator_error.OperatorError`."""

    layer: str
    own: float = 0.0
    error: float = 0.0
    channel: float = 0.0


@dataclass(frozen=True)
class Attempt:
    """A file that was converted and compared with its model.

    Attributes:
        file: the .tflite, in a temporary place.
        operator_layers: the Keras layer of each of its operators.
        silent: layers whose output is zero on every calibration sample.
        verdict: the result of the comparison.
        seconds: the time it took.
    """

    file: TFLiteFile
    operator_layers: list[str]
    silent: list[str]
    verdict: Verdict
    seconds: float


@dataclass
class Attempts:
    """Makes files of one model in any mode.

    Args:
        export: the model.
        scratch: a directory to work in.
        calibration: samples by input name from which ranges are taken, or None.
        comparison: the samples to compare on.
        labels: labels of the evaluation samples, by output name or for the only output.
    """

    export: Export
    scratch: Path
    calibration: Mapping[str, np.ndarray] | None
    comparison: ComparisonSamples
    labels: np.ndarray | Mapping[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        self._began = time.perf_counter()
        self._made: dict[tuple[str, frozenset[str]], Attempt] = {}
        self._reference: dict[str, np.ndarray] | None = None

    def make(self, mode: str, keep_float: Collection[str] = ()) -> Attempt:
        """Convert the model and compare the file with it.

        Args:
            mode: one of :data:`leankeras.modes.MODES`.
            keep_float: layers that an int8 mode leaves in float.

        Raises:
            Unsuited: the model cannot be converted in this mode.
            ConversionError: the converter crashed, or the model is at fault.
        """
        key = mode, frozenset(keep_float)
        if key in self._made:
            return self._made[key]
        began = time.perf_counter()
        path = self.scratch / f"{len(list(self.scratch.iterdir()))}.tflite"
        silent = self._lower(path, mode, keep_float)
        file = TFLiteFile(path)
        layers = file.operator_layers(self.export.layers, self.export.output_layers)
        check_types(file, mode, layers, keep_float)
        verdict = self._judge(file, layers, mode)
        self._made[key] = Attempt(file, layers, silent, verdict, time.perf_counter() - began)
        return self._made[key]

    def layer_errors(self, attempt: Attempt, exact: Attempt) -> list[LayerError]:
        """The errors of each layer of a file, against the float32 file, in the order they run."""
        try:
            errors = converter.shared.request(
                "measure_operators",
                float32=str(exact.file.path),
                other=str(attempt.file.path),
                samples=str(self._worst_first(attempt)),
            )
        except JobError:  # the file cannot be taken apart; its fault is reported without a layer
            return []
        largest: dict[str, LayerError] = {}
        for position, *figures in errors:
            layer = attempt.operator_layers[position]
            before = largest.get(layer, LayerError(layer))
            largest[layer] = LayerError(layer, *map(max, figures, before[1:]))
        largest.pop("", None)
        return list(largest.values())

    def parting(self, attempt: Attempt, limit: float) -> str:
        """The layer in which a float32 file first differs from the model by more than a limit."""
        try:
            place = converter.shared.request(
                "first_difference",
                directory=str(self.export.directory),
                path=str(attempt.file.path),
                samples=str(self._worst_first(attempt)),
                limit=limit,
            )
        except JobError:  # as above
            return ""
        return "" if place is None else attempt.operator_layers[place]

    def _lower(self, path: Path, mode: str, keep_float: Collection[str]) -> list[str]:
        calibrated = self.calibration is not None and mode in INTEGER_MODES
        try:
            return converter.shared.request(
                "lower",
                directory=str(self.export.directory),
                output=str(path),
                mode=mode,
                calibration=str(self._written("calibration", self.calibration))
                if calibrated
                else None,
                layers=sorted(self.export.layers),
                output_layers=self.export.output_layers,
                keep_float=list(keep_float),
            )
        except JobError as error:
            raise explain(str(error), self.export.layers) from error

    def _judge(self, file: TFLiteFile, layers: list[str], mode: str) -> Verdict:
        if self._reference is None:
            self._reference = self.export.reference(self.comparison.samples, self._seconds())
        count = len(next(iter(self._reference.values())))
        given = {name: array[:count] for name, array in self.comparison.samples.items()}
        results = self.scratch / "results.npz"
        try:
            converter.shared.request(
                "run_tflite",
                path=str(file.path),
                samples=str(self._written("samples", given)),
                output=str(results),
                seconds=self._seconds(),
            )
        except JobError as error:
            raise Unsuited(self._why_not(file, layers, mode)) from error
        outputs = read_arrays(results)
        count = len(next(iter(outputs.values())))
        reference = {name: array[:count] for name, array in self._reference.items()}
        return judge(output_parts(file), reference, outputs, mode, self._score(reference, outputs))

    def _score(
        self, reference: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
    ) -> Score | None:
        if self.labels is None:
            return None
        by_name = isinstance(self.labels, Mapping)
        labels = self.labels if by_name else dict.fromkeys(outputs, self.labels)
        if set(labels) - set(outputs) or (not by_name and len(outputs) > 1):
            raise ParameterError(
                f"labels for {', '.join(labels) if by_name else 'one output'}; the outputs are "
                f"{', '.join(outputs)}"
            )
        rows = self.comparison.rows[: len(next(iter(outputs.values())))]
        chosen = rows >= 0
        return score(
            {name: np.asarray(array)[rows[chosen]] for name, array in labels.items()},
            {name: array[chosen] for name, array in reference.items()},
            {name: array[chosen] for name, array in outputs.items()},
        )

    def _why_not(self, file: TFLiteFile, layers: list[str], mode: str) -> str:
        place = converter.shared.request("failing_operator", path=str(file.path))
        if place is None:
            return f"the {mode} file does not run in LiteRT"
        layer = f" of layer {layers[place]!r}" if layers[place] else ""
        output = file.result(file.operators[place])
        scale = f", whose scale is {output.scales[0]:.1g}" if output.scales else ""
        return (
            f"the {mode} file does not run in LiteRT: XNNPACK refuses the result of "
            f"{file.operators[place].kind}{layer}{scale}"
        )

    def _worst_first(self, attempt: Attempt) -> Path:
        """The samples that show where a file is wrong, the worst first."""
        worst = attempt.verdict.worst
        return self._written(
            f"{attempt.file.path.stem}_worst",
            {
                name: np.concatenate([array[worst : worst + 1], array[:LOCATING]])
                for name, array in self.comparison.samples.items()
            },
        )

    def _seconds(self) -> float:
        spent = time.perf_counter() - self._began
        return min(max(LEAST_SECONDS, SHARE * spent), MOST_SECONDS)

    def _written(self, name: str, arrays: Mapping[str, np.ndarray]) -> Path:
        path = self.scratch / f"{name}.npz"
        if not path.exists():
            write_arrays(path, arrays)
        return path
