"""The learners' copy of the notebooks: exercises without their solutions."""

import ast
import shutil
from pathlib import Path

import nbformat

from kopt.errors import WorkspaceError
from kopt.project import NOTEBOOKS
from kopt.workspace.record import STAGES
from leankeras.files import write_atomically

EXERCISE, SOLUTION = "exercise", "solution"


def write_learners_copy(folder: str | Path) -> Path:
    """Copy the notebooks for learners, completely or not at all.

    The copy has no solutions and no outputs; it uses the installed kopt and also runs headless.

    Args:
        folder: a directory that does not exist yet or is empty.

    Returns:
        The absolute path of the directory.

    Raises:
        WorkspaceError: the directory is in use or cannot be written, or somebody has answered an
            exercise in the original notebooks.

    Example:
        >>> write_learners_copy("workshop")
        PosixPath('/home/ann/workshop')
    """
    folder = Path(folder).resolve()
    if folder == Path.cwd() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise WorkspaceError(f"{folder} is in use; expected a new directory or an empty one")
    notebooks = {f"{stage}.ipynb": learners_notebook(stage) for stage in STAGES}

    def write(temporary: Path) -> None:
        temporary.mkdir(parents=True)
        for name, notebook in notebooks.items():
            nbformat.write(notebook, temporary / name)
        shutil.copy(NOTEBOOKS / "README.md", temporary)

    write_atomically(folder, write, WorkspaceError)
    return folder


def learners_notebook(stage: str) -> nbformat.NotebookNode:
    """A notebook with its exercises unanswered, without solutions and outputs.

    Raises:
        WorkspaceError: an exercise is answered, and its placeholder is not known here.
    """
    path = NOTEBOOKS / f"{stage}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if SOLUTION not in tags(cell)]
    for cell in notebook.cells:
        if EXERCISE in tags(cell) and not _is_open(cell.source):
            raise WorkspaceError(
                f"{path}: an exercise is answered ({cell.source.splitlines()[-1]}); put the dots "
                f"back, or run: git checkout {path}"
            )
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def tags(cell: nbformat.NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def _is_open(source: str) -> bool:
    """Whether a cell still has its dots; one that does not parse has been edited."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return False
    return any(isinstance(node, ast.Constant) and node.value is ... for node in nodes)
