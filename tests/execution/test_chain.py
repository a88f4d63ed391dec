"""The chain itself, on notebooks that take a moment; the real ones run in test_notebooks.py."""

import nbformat
import pytest

from kopt.errors import ChainError, ParameterError, StageError, WorkspaceError
from kopt.execution import chain
from kopt.execution.chain import notebook_parameters, run_chain, select_stages
from kopt.workspace.directory import Workspace
from kopt.workspace.record import STAGES
from tests.workspace.test_directory import leave, record

PARAMETERS = """case: str = "signal"  # a case
run_dir: str = None  # where
quick: bool = False  # few
"""


def write_notebook(folder, stage, *cells):
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
            *map(nbformat.v4.new_code_cell, cells),
        ],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
    )
    nbformat.write(notebook, folder / f"{stage}.ipynb")


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A run directory, and notebooks that write down that they ran."""
    monkeypatch.setattr(chain, "NOTEBOOKS", tmp_path)
    for stage in STAGES:
        write_notebook(tmp_path, stage, f"open(run_dir + '/log', 'a').write('{stage} ')")
    return Workspace(tmp_path / "run")


def log(workspace):
    return (workspace.path / "log").read_text().split()


def test_the_notebooks_run_in_order_and_are_left_executed(workspace):
    run_chain(workspace, {"case": "signal"}, select_stages("01", "02"))
    assert log(workspace) == ["01_profile", "02_rewrite"]
    done = nbformat.read(workspace.notebooks / "01_profile.ipynb", 4)
    assert done.metadata.papermill.exception is None


def test_a_failing_cell_ends_the_run_with_its_notebook_cell_and_error(workspace, tmp_path):
    write_notebook(tmp_path, "02_rewrite", "1 + 1", "raise ValueError('the reason\\nand more')")
    with pytest.raises(ChainError) as failed:
        run_chain(workspace, {"case": "signal"})
    assert str(failed.value).startswith("02_rewrite, cell [4], after ")
    assert "ValueError: the reason\n    and more" in str(failed.value)
    assert log(workspace) == ["01_profile"]
    workspace.claim("signal", "the next run")


def test_resume_leaves_out_what_is_done_and_fresh_with_the_same_parameters(workspace):
    workspace.claim("signal", "a test")
    outputs = {}
    for before, stage in zip((None, *STAGES), STAGES, strict=False):
        inputs = {before: outputs} if before else {}
        outputs = leave(workspace, stage, stage, inputs)
        asked = {"case": "signal", "quick": stage == "03_prune"}
        made = record(stage, inputs, outputs, parameters=asked)
        workspace.record_path(stage).write_text(made.to_json())
    workspace.release()
    said = []
    run_chain(workspace, {"case": "signal"}, resume=True, say=said.append)
    assert log(workspace) == list(STAGES[2:])
    assert said == [f"{stage}: done before, left as it is" for stage in STAGES[:2]]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sparsity": 0.5}, r"sparsity: no notebook from 01_profile to 06_tflite has that"),
        ({"quick": "yes"}, "quick: saw 'yes'; expected True or False"),
        ({"case": "none"}, "case: saw 'none'"),
    ],
)
def test_bad_parameters_are_refused_before_anything_starts(workspace, parameters, message):
    with pytest.raises(ParameterError, match=message):
        run_chain(workspace, {"case": "signal"} | parameters)
    assert not workspace.path.exists()


def test_a_directory_of_another_case_is_refused_before_anything_starts(workspace):
    workspace.claim("vision", "a test")
    workspace.release()
    with pytest.raises(WorkspaceError, match="belongs to the case 'vision'"):
        run_chain(workspace, {"case": "signal"})


def test_a_case_in_a_file_is_found_from_the_kernels_directory(workspace, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\nfrom kopt.cases.signal import CASE\n"
        "case = replace(CASE, name='mine')"
    )
    write_notebook(tmp_path, "01_profile", "from kopt.case import find_case; find_case(case)")
    monkeypatch.chdir(tmp_path)
    run_chain(workspace, {"case": "mine.py:case"}, select_stages(None, "01"))


def test_a_run_that_cannot_start_where_it_is_told_to_is_refused_before(workspace):
    with pytest.raises(StageError, match="02_rewrite continues from 01_profile"):
        run_chain(workspace, {"case": "signal"}, select_stages("02", None))
    assert not workspace.path.exists()


def test_stages_are_chosen_by_number_or_name():
    assert select_stages("2", "04_distil") == STAGES[1:4]
    assert select_stages(None, None) == STAGES
    with pytest.raises(ParameterError, match="stage '07': no such stage"):
        select_stages("07", None)
    with pytest.raises(ParameterError, match="nothing to run"):
        select_stages("04", "02")


def test_a_notebooks_parameters_are_read_from_its_cell():
    assert notebook_parameters("03_prune") == {
        "case": "signal",
        "run_dir": None,
        "seed": 0,
        "quick": False,
        "sparsity": 0.8,
        "fraction": 0.5,
        "epochs": None,
    }
