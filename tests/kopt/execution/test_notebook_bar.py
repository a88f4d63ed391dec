"""What a training cell shows: a line in the notebook that changes, and the same in the bar."""

import io

import nbformat
import papermill
import pytest

from kopt.execution.chain import BAR
from kopt.execution.notebook_bar import ENGINE

CELLS = [
    """
from kopt.workspace.training_line import say, show_training
from leankeras.training_progress import TrainingProgress
say("about 3 h")
""",
    """
for epoch in (1, 2):
    show_training(TrainingProgress(epoch, 2, 0.5 / epoch, 60.0, 60.0 * (2 - epoch)))
show_training(TrainingProgress(1, 1, 0.125, 30.0, 0.0))
""",
    "print(6 * 7)",
]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder, terminal = tmp_path_factory.mktemp("bar"), Terminal()
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "in.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        papermill.execute_notebook(
            folder / "in.ipynb",
            folder / "out.ipynb",
            engine_name=ENGINE,
            progress_bar={"desc": "stage", "bar_format": BAR, "ncols": 200},
        )
    return nbformat.read(folder / "out.ipynb", 4), terminal.getvalue()


def test_the_bar_says_how_far_a_training_cell_is(executed):
    _, shown = executed
    lines = [line.strip() for line in shown.replace("\r", "\n").splitlines()]
    assert "about 3 h" in lines
    training = [line for line in lines if "epoch 1 of 2, loss 0.5, about 60 s left" in line]
    assert training
    assert all("cell  1 of 3" in line for line in training)
    assert "epoch" not in lines[-1]  # when the last cell has run


def test_the_executed_notebook_has_one_line_for_a_cell_that_trains(executed):
    notebook, _ = executed
    outputs = [cell.outputs for cell in notebook.cells]
    assert [len(each) for each in outputs] == [1, 1, 1]
    assert outputs[0][0].data["text/plain"] == "about 3 h"
    assert outputs[1][0].data["text/plain"] == "1 epoch in 30 s, loss 0.125"
