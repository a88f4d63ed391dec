"""Every error a user can cause or can act on.

A message is one line: what was seen, what was expected, what to do.
"""


class KoptError(Exception):
    """Base of all errors that kopt raises on purpose."""


class ParameterError(KoptError):
    """A parameter has an unknown name, a wrong type or a value out of range."""


class DataError(KoptError):
    """Arrays that cannot be trained, calibrated or scored with."""


class ModelError(KoptError):
    """A model or layer that cannot be used for what was asked of it."""


class TwinError(ModelError):
    """A Keras 3 model has no tf_keras twin, or the twin computes something else."""


class ConversionError(KoptError):
    """The converter crashed, refused the model, or wrote a file that is not what was asked for."""


class EquivalenceError(KoptError):
    """Two layers cannot be compared, or a rewrite that must be equal is not."""


class MeasurementError(KoptError):
    """A latency was asked for that cannot be measured."""


class WorkspaceError(KoptError):
    """A run directory that cannot be used: another case's, locked, unwritable or damaged."""


class StageError(KoptError):
    """A stage that cannot start: its predecessor is missing or stale."""


class ChainError(KoptError):
    """A notebook of a run failed."""


class Interrupted(KoptError):
    """Ctrl-C ended a run; what it had finished is kept."""


class ClusterError(KoptError):
    """A Dask cluster that cannot be used: no answer, no workers, workers of other versions."""
