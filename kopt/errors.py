"""What can go wrong in a run, in addition to the errors of leankeras."""

from leankeras.errors import KoptError


class WorkspaceError(KoptError):
    """A run directory that cannot be used: another case's, locked, not writable or damaged."""


class StageError(KoptError):
    """A stage that cannot start: its predecessor is missing or stale."""


class ChainError(KoptError):
    """A notebook of a run failed."""


class KernelDied(ChainError):
    """A notebook's kernel died.

    Attributes:
        cause: a signal, such as "SIGABRT", or an exit status, such as "exit code 3".
    """

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class Interrupted(KoptError):
    """Ctrl-C ended a run; finished work is kept."""

    exit_code = 130


class ClusterError(KoptError):
    """A Dask cluster that cannot be used: no answer, no workers, or workers of other versions."""
