"""The learners' copy: complete, without solutions, and runnable."""

import subprocess
import sys

import nbformat
import papermill
import pytest

from kopt.cli import main
from kopt.errors import WorkspaceError
from kopt.execution import learner
from kopt.execution.learner import learners_notebook, tags, write_learners_copy
from kopt.project import NOTEBOOKS
from kopt.workspace.record import STAGES

TINY_CASE = """
import keras, numpy as np
from dataclasses import replace
from leankeras.budget import Budget
from kopt.case import Epochs
from kopt.cases.signal import CASE, CustomConv
from leankeras.data import Data

def load():
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 160)
    x = random.normal(size=(160, 16, 2)).astype("float32")
    x[np.arange(160), :, y] += 1
    return Data(x[:128], y[:128], x[128:], y[128:])

def build():
    inputs = keras.Input((16, 2))
    x = CustomConv(8, 3, name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="logits")(x))

case = replace(
    CASE, name="tiny", load=load, build=build, budget=Budget(50, 50, 0.05),
    epochs=Epochs(profile=1, prune=1, distil=1, qat=1),
)
"""


def original(stage):
    return nbformat.read(NOTEBOOKS / f"{stage}.ipynb", as_version=4)


@pytest.mark.parametrize("stage", STAGES)
def test_the_copy_is_the_notebook_without_its_solutions(stage):
    cells = original(stage).cells
    copied = learners_notebook(stage).cells
    assert [cell.source for cell in copied] == [
        cell.source for cell in cells if "solution" not in tags(cell)
    ]
    assert 2 <= len(cells) - len(copied) <= 4


@pytest.mark.parametrize("stage", STAGES)
def test_every_exercise_is_a_task_an_open_answer_and_a_folded_solution(stage):
    cells = original(stage).cells
    places = [place for place, cell in enumerate(cells) if "exercise" in tags(cell)]
    assert len(places) in (2, 3, 4)
    assert len(places) == sum("solution" in tags(cell) for cell in cells)
    for place in places:
        task, answer, solution = cells[place - 1 : place + 2]
        assert task.cell_type == "markdown"
        assert task.source.startswith("### Your turn · ")
        assert "..." in answer.source
        assert tags(solution) == ["solution"]
        assert solution.metadata.jupyter == {"source_hidden": True, "outputs_hidden": True}
        # both end with the same call of the same check
        asked, given = (cell.source.splitlines()[-1] for cell in (answer, solution))
        assert asked.startswith("kopt.checks.")
        assert asked == given


def test_the_command_writes_all_of_it_into_a_new_directory(tmp_path, capsys):
    folder = tmp_path / "a new" / "workshop"
    with pytest.raises(SystemExit) as ended:
        main(["workshop", str(folder)])
    assert not ended.value.code
    assert capsys.readouterr().out == f"{folder}\n"
    names = [f"{stage}.ipynb" for stage in STAGES]
    assert sorted(path.name for path in folder.iterdir()) == [*names, "README.md"]
    assert [path.name for path in folder.parent.iterdir()] == ["workshop"]
    for name in names:
        nbformat.validate(nbformat.read(folder / name, as_version=4))
        assert papermill.inspect_notebook(folder / name).keys() >= {"case", "run_dir", "quick"}


@pytest.mark.parametrize("used_by", ["a file in it", "a file", "the shell"])
def test_a_directory_in_use_is_refused_and_left_alone(used_by, tmp_path, monkeypatch):
    folder = tmp_path / "workshop"
    if used_by == "a file":
        folder.write_text("mine")
    else:
        folder.mkdir()
    if used_by == "a file in it":
        (folder / "notes.txt").write_text("mine")
    if used_by == "the shell":
        monkeypatch.chdir(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WorkspaceError, match="is in use; expected a new directory"):
        write_learners_copy(folder)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_directory_is_taken_and_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "workshop").mkdir()
    monkeypatch.setattr(learner.shutil, "copy", _full_disk)
    with pytest.raises(WorkspaceError, match="No space left"):
        write_learners_copy(tmp_path / "workshop")
    assert [path.name for path in tmp_path.rglob("*")] == ["workshop"]
    monkeypatch.undo()
    write_learners_copy(tmp_path / "workshop")
    assert (tmp_path / "workshop/README.md").exists()


def _full_disk(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("answer", ["answer = 3.6", "answer ="])
def test_notebooks_in_which_somebody_answered_are_not_handed_out(answer, tmp_path, monkeypatch):
    for stage in STAGES:
        notebook = original(stage)
        for cell in notebook.cells:
            if stage == "04_distil" and "exercise" in tags(cell):
                cell.source = cell.source.replace("answer = ...", answer)
        nbformat.write(notebook, tmp_path / f"{stage}.ipynb")
    monkeypatch.setattr(learner, "NOTEBOOKS", tmp_path)
    with pytest.raises(WorkspaceError, match=r"04_distil.ipynb: an exercise is answered .* dots"):
        write_learners_copy(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.notebook
def test_the_copy_runs_headless_with_nothing_answered(tmp_path):
    folder = write_learners_copy(tmp_path / "workshop")
    (tmp_path / "tiny.py").write_text(TINY_CASE)
    done = tmp_path / "done.ipynb"
    given = {"case": f"{tmp_path}/tiny.py:case", "run_dir": str(tmp_path / "run"), "quick": True}
    pairs = [word for name, value in given.items() for word in ("-p", name, str(value))]
    subprocess.run(
        [sys.executable, "-m", "papermill", str(folder / "01_profile.ipynb"), str(done), *pairs],
        capture_output=True,
        check=True,
    )
    cells = nbformat.read(done, as_version=4).cells
    said = [shown(cell) for cell in cells if "exercise" in tags(cell)]
    assert len(said) == 3
    assert all(text.startswith("not answered yet: ") for text in said)
    assert (tmp_path / "run/records/01_profile.json").exists()


def shown(cell):
    """What the check at the end of a cell said."""
    return cell.outputs[-1]["data"]["text/plain"]
