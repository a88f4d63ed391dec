"""A run directory: models and records, written whole or not at all, by one writer at a time."""

import json
import os
from pathlib import Path

from kopt.errors import StageError, WorkspaceError
from kopt.workspace.record import STAGES, Record, predecessor
from leankeras.claim import NamedLock
from leankeras.digest import digest
from leankeras.errors import ParameterError
from leankeras.files import remove, write_text

OWNER = "KOPT_RUN_OWNER"
# A kernel whose run was killed notices and exits within a second or two.
ORPHAN_SECONDS = 15
TEMPORARY = ".[0-9]*-"
CONTENTS = {
    *("case.json", "deployments.json", "report.html"),
    *("models", "notebooks", "records", "scratch", "serve"),
}


class Workspace:
    """A run directory.

    ``models/`` holds the stages' models, ``records/`` their measurements and ``notebooks/`` the
    executed notebooks. Nothing is opened or created until something is written.

    Args:
        path: the directory.

    Example:
        >>> workspace = Workspace("runs/signal")
        >>> [record.stage for record in workspace.records()]
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.models = self.path / "models"
        self.notebooks = self.path / "notebooks"
        # the first lock admits one run or stage at a time; a stage at work also holds the second,
        # since its kernel may outlive the killed run that it belongs to
        self._run_lock = NamedLock(self.path.resolve() / ".lock")
        self._stage_lock = NamedLock(self.path.resolve() / ".stage-lock")

    @property
    def ownership(self) -> str:
        """The value of the environment variable :data:`OWNER` in the kernels of a run."""
        return f"{self.path.resolve()}, {self._run_lock.holder()}"

    def claim(self, case: str, writer: str) -> None:
        """Claim the directory for a case and a writer, until :meth:`release`.

        Whatever a killed writer left unfinished is removed.

        Args:
            case: the case's name.
            writer: a stage, or another writer, such as "kopt run".

        Raises:
            WorkspaceError: the directory belongs to another case, is in use by another
                writer, is a file, or cannot be written.
        """
        owner = self._owner()
        if owner is None and self.path.is_dir():
            strange = sorted(
                path.name
                for path in self.path.iterdir()
                if not path.name.startswith(".") and path.name not in CONTENTS
            )
            if strange:
                raise WorkspaceError(
                    f"{self.path} is not a run directory (it contains {', '.join(strange[:3])}); "
                    "choose another run_dir"
                )
        if owner not in (None, case):
            raise WorkspaceError(
                f"{self.path} belongs to the case {owner!r}, not {case!r}; use another run_dir"
            )
        try:
            for folder in (self.path, self.models, self.notebooks, self.path / "records"):
                folder.mkdir(parents=True, exist_ok=True)
            if not self._stage_lock.held:
                self._lock(writer)
                self._remove_remains(writer)
            if owner is None:
                write_text(self.path / "case.json", json.dumps({"case": case}), WorkspaceError)
        except WorkspaceError:
            self.release()
            raise
        except (FileExistsError, NotADirectoryError):
            raise WorkspaceError(f"{self.path} is a file; expected a run directory") from None
        except OSError as error:
            self.release()
            raise WorkspaceError(
                f"{self.path} cannot be written ({error.strerror}); choose another run_dir"
            ) from error

    def _lock(self, writer: str) -> None:
        owned = os.environ.get(OWNER) == self.ownership
        holder = None if owned else self._run_lock.acquire(writer)
        if holder:
            raise WorkspaceError(
                f"{self.path} is being written by {holder}; wait for it, shut down its kernel, or "
                "use another run_dir"
            )
        holder = self._stage_lock.acquire(writer, ORPHAN_SECONDS)
        if holder:
            raise WorkspaceError(
                f"{self.path} is still being written by {holder}, whose run was killed; end that "
                "process first"
            )
        if owned and os.environ.get(OWNER) != self.ownership:
            raise WorkspaceError(
                f"{self.path} has been taken over by {self._run_lock.holder()}; the run that "
                f"started {writer} is gone"
            )
        if writer not in STAGES:
            self._stage_lock.release()

    def _remove_remains(self, writer: str) -> None:
        remains = [
            *self.path.glob(f"{TEMPORARY}case.json"),
            *self.models.glob(f"{TEMPORARY}*"),
            *(self.path / "records").glob(f"{TEMPORARY}*"),
            *(self.path / "scratch").glob(f"{writer}-*"),
            *(self.path / "scratch").glob(f".{writer}-*"),
        ]
        if self._run_lock.held:  # otherwise this kernel's own run is writing it
            remains.append(self.running_notebook(writer))
        for path in remains:
            remove(path)

    def _owner(self) -> str | None:
        """The case that the directory belongs to; None if it has no owner yet."""
        path = self.path / "case.json"
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text())["case"]
        except (ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(
                f"{path} is damaged ({error}); delete it if the directory is yours"
            ) from error

    def release(self) -> None:
        """Let the next writer in."""
        self._stage_lock.release()
        self._run_lock.release()

    def running_notebook(self, stage: str) -> Path:
        """Where a run keeps a notebook that has not finished."""
        return self.notebooks / f".{stage}.ipynb"

    def record_path(self, stage: str) -> Path:
        """The path of a stage's record."""
        return self.path / "records" / f"{stage}.json"

    def record(self, stage: str) -> Record | None:
        """The record of a finished stage; None if it has not finished."""
        path = self.record_path(stage)
        if not path.is_file():
            return None
        try:
            return Record.from_json(path.read_text())
        except (ValueError, TypeError, KeyError, ParameterError) as error:
            raise WorkspaceError(
                f"{path} is damaged or from another version of kopt ({error}); delete it and "
                f"run {stage} again"
            ) from error

    def records(self) -> list[Record]:
        """The existing records, in the order of the stages."""
        return [record for stage in STAGES if (record := self.record(stage))]

    def stale_because(self, stage: str) -> str | None:
        """Why a finished stage is stale; None if it is up to date.

        A stage is stale if the user's files that define the case have changed, if its own files
        are not the ones it recorded, if the stage before it has been run again since, or if that
        stage is stale.
        """
        record = self.record(stage)
        if record is None:
            return f"{stage} has not finished"
        for name, known in record.case_files.items():
            if not Path(name).exists() or digest(Path(name)) != known:
                return f"{name} has changed since {stage} was run"
        for name, known in record.outputs.items():
            path = self.models / name
            if not path.exists() or digest(path) != known:
                return f"{path} is not the file that {stage} wrote"
        for before, known in record.inputs.items():
            reason = self.stale_because(before)
            if reason:
                return reason
            if self.record(before).outputs != known:
                return f"{before} was run again after {stage}"
        return None

    def check_before(self, stage: str, quick: bool) -> None:
        """Refuse to start a stage whose predecessor is missing, stale or from a different run.

        Raises:
            StageError: says which notebook to run.
        """
        before = predecessor(stage)
        if before is None:
            return
        record = self.record(before)
        if record is None:
            raise StageError(
                f"{stage} continues from {before}, which has not finished in {self.path}; "
                f"run notebooks/{before}.ipynb first"
            )
        reason = self.stale_because(before)
        if reason:
            raise StageError(f"{before} is stale ({reason}); run notebooks/{before}.ipynb again")
        if record.parameters["quick"] != quick:
            raise StageError(
                f"{before} ran with quick={record.parameters['quick']} and {stage} has "
                f"quick={quick}; use the same in all stages of a run"
            )
