"""Diagnose a layer or model: read it, run it, and judge both together."""

import warnings
from typing import Any

from leankeras.diagnosis.delivery import custom_layers, try_config, try_delivery
from leankeras.diagnosis.finding import Diagnosis
from leankeras.diagnosis.judgement import judge
from leankeras.diagnosis.samples import find_inputs
from leankeras.diagnosis.source import is_library, read_class
from leankeras.diagnosis.target import resolve
from leankeras.diagnosis.trial import Trial, try_calls, try_graph, try_python_arguments
from leankeras.diagnosis.weights import try_variables, try_weights
from leankeras.equivalence import check_shape, kept, perturb


def diagnose(target: Any, input_shape: Any = None, samples: Any = None) -> Diagnosis:
    """Find out why a layer or model is slow or cannot be deployed.

    The source of each of the user's classes in it is read, and the whole is run: at batch 1 and
    8, twice, as a graph, saved and reloaded, as a SavedModel and in TFLite. The rules are in
    ``docs/diagnosis.md``. A path ``FILE.py:Class`` runs that file, as ``python FILE.py`` would; a
    ``.keras`` file is opened in safe mode.

    Args:
        target: a layer, a layer class, a model, or a path: ``FILE.py:Class``, ``module:Class``
            or a ``.keras`` file.
        input_shape: shape of one sample, without the batch, such as ``(128, 6)``; a list or dict
            of shapes for several inputs. A model with inputs needs none; without shape and
            samples a layer is read but not run.
        samples: your own inputs, shape ``(n, *input_shape)``, in place of random numbers; a list
            or dict of arrays for several inputs. Needed if random numbers are not valid inputs:
            indices, masks, boxes.

    Raises:
        ModelError: the target is none of these, cannot be found, or fails when loaded.
        EquivalenceError: ``input_shape`` is not a shape of one sample.
        DataError: the samples are not numbers, or do not fit the inputs.

    Example:
        >>> leankeras.diagnose(CustomConv(64), (256, 16))
        custom_conv: 0 error, 1 warning, 0 info
        warning loop-over-filters  layers.py:21
        ...
    """
    if input_shape is not None:
        check_shape(input_shape)
    found = resolve(target)
    layers = custom_layers(found.layer) if found.layer else []
    classes = dict.fromkeys([type(layer) for layer in layers] or [found.cls])
    sources = [read_class(cls) for cls in classes if not is_library(cls)]
    inputs = find_inputs(found.layer, input_shape, samples) if found.layer else None
    if inputs is None:
        return Diagnosis(found.name, tuple(judge(found, sources, None)))
    files = frozenset(source.path for layer in sources for source in layer.classes)
    trial = Trial(found.layer, inputs, files)
    with warnings.catch_warnings():
        # Their warnings concern the same faults that are tested here.
        warnings.simplefilter("ignore")
        _try(trial)
    return Diagnosis(found.name, tuple(judge(found, sources, trial)), trial.figures)


def _try(trial: Trial) -> None:
    if not trial.layer.built:
        try_calls(Trial(trial.layer, trial.inputs))
    with kept(trial.layer):
        perturb(trial.layer)
        if try_calls(trial) and try_graph(trial):
            try_python_arguments(trial)
            try_weights(trial)
            try_variables(trial)
            try_config(trial)
            try_delivery(trial)
