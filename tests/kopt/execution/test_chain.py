"""The chain itself, on fast notebooks; the real ones run in test_notebooks.py."""

import asyncio
import gc
import multiprocessing
import os
import re

import nbformat
import pytest
from nbclient.exceptions import DeadKernelError

from kopt.cases.catalogue import case_files
from kopt.cli import main
from kopt.errors import ChainError, Interrupted, StageError, WorkspaceError
from kopt.execution import chain, kernel
from kopt.execution.chain import notebook_parameters, run_chain, select_stages
from kopt.execution.kernel import ONEDNN
from kopt.workspace.directory import Workspace
from kopt.workspace.record import RESTARTED_AFTER, STAGES, predecessor
from leankeras.digest import digest
from leankeras.errors import ParameterError
from tests.kopt.workspace.holding import PATIENCE
from tests.kopt.workspace.test_directory import claim_elsewhere, leave, record

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


class Notebooks:
    """Stands in for the notebooks: each leaves a file that says what went into it."""

    def __init__(self, workspace, monkeypatch):
        self.workspace, self.ran = workspace, []
        self.uses = {"03_prune": "sparsity", "04_distil": "temperature"}
        self.defaults = {"sparsity": 0.8, "temperature": 4.0}
        self.rounded = set()
        monkeypatch.setattr(chain, "run_notebook", self.run)
        monkeypatch.setattr(chain, "notebook_parameters", self.parameters)

    def parameters(self, stage):
        own = self.uses.get(stage)
        return {"case": "signal", "run_dir": None, "quick": False} | (
            {own: self.defaults[own]} if own else {}
        )

    def run(self, stage, workspace, given, say):
        self.ran.append(stage)
        before = predecessor(stage)
        inputs = {before: workspace.record(before).outputs} if before else {}
        knob = given.get(self.uses.get(stage))
        content = f"{inputs} {round(knob) if stage in self.rounded else knob}"
        outputs = leave(workspace, stage, content, inputs)
        asked = {name: value for name, value in given.items() if name != "run_dir"}
        files = {str(path): digest(path) for path in case_files(given["case"])}
        made = record(stage, inputs, outputs, parameters=asked, case_files=files)
        workspace.record_path(stage).write_text(made.to_json())

    def resume(self, parameters, stages=STAGES):
        """Which notebooks a resumed run runs, and what it says."""
        self.ran, said = [], []
        run_chain(
            self.workspace, {"case": "signal"} | parameters, stages, resume=True, say=said.append
        )
        return self.ran, said


@pytest.fixture
def notebooks(workspace, monkeypatch):
    notebooks = Notebooks(workspace, monkeypatch)
    run_chain(workspace, {"case": "signal"})
    return notebooks


def test_a_finished_run_is_left_as_it_is(notebooks):
    ran, said = notebooks.resume({})
    assert ran == []
    assert said == [f"{stage}: already done, skipped" for stage in STAGES]


def test_a_changed_parameter_runs_again_what_depends_on_it_and_only_that(notebooks):
    ran, said = notebooks.resume({"temperature": 2})
    assert ran == list(STAGES[3:])
    assert said[3:] == [
        "04_distil: running again, temperature was 4.0 and is now 2",
        "05_qat: running again, 04_distil was run again after 05_qat",
        "06_tflite: running again, 05_qat was run again after 06_tflite",
        "07_deploy: running again, 06_tflite was run again after 07_deploy",
        "08_serve: running again, 07_deploy was run again after 08_serve",
    ]
    assert notebooks.resume({"temperature": 2})[0] == []
    assert notebooks.resume({"temperature": 2, "sparsity": 0.5})[0] == list(STAGES[2:])


def test_a_stage_that_comes_out_the_same_leaves_the_later_ones_alone(notebooks):
    notebooks.rounded.add("04_distil")
    assert notebooks.resume({"temperature": 2})[0] == list(STAGES[3:])
    assert notebooks.resume({"temperature": 2.2})[0] == ["04_distil"]


def test_without_the_extra_serve_a_run_ends_before_08(monkeypatch):
    assert select_stages(None, None) == STAGES
    monkeypatch.setattr(chain, "find_spec", lambda name: None)
    assert select_stages(None, None)[-1] == "07_deploy"
    assert select_stages("08", "08") == ("08_serve",)


def test_later_stages_that_have_become_stale_are_named(notebooks):
    ran, said = notebooks.resume({"temperature": 2}, select_stages("04", "04"))
    assert ran == ["04_distil"]
    assert said[1:] == [
        "05_qat is stale: 04_distil was run again after 05_qat",
        "06_tflite is stale: 04_distil was run again after 05_qat",
        "07_deploy is stale: 04_distil was run again after 05_qat",
        "08_serve is stale: 04_distil was run again after 05_qat",
    ]


def test_a_stage_whose_file_was_damaged_runs_again(notebooks):
    (notebooks.workspace.models / "05_qat.tflite").write_text("half")
    ran, said = notebooks.resume({})
    assert ran == ["05_qat"]
    assert said[4].endswith("05_qat.tflite is not the file that 05_qat wrote")


def test_a_stage_whose_notebook_was_cut_off_runs_again(notebooks):
    notebooks.workspace.running_notebook("02_rewrite").write_text("{")
    ran, said = notebooks.resume({})
    assert ran == ["02_rewrite"]
    assert said[1] == "02_rewrite: running again, its notebook did not run to the end"


def test_an_edited_case_file_makes_every_stage_stale(workspace, tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import replace\nfrom kopt.cases.signal import CASE\n"
        "case = replace(CASE, name='mine')"
    )
    notebooks, own = Notebooks(workspace, monkeypatch), {"case": f"{file}:case"}
    assert notebooks.resume(own)[0] == list(STAGES)
    file.write_text(file.read_text() + "  # and more")
    reason = f"{file} has changed since 01_profile was run"
    assert workspace.stale_because("01_profile") == reason
    with pytest.raises(StageError, match="01_profile is stale"):
        notebooks.resume(own, STAGES[1:])
    ran, said = notebooks.resume(own)
    assert ran == list(STAGES)
    assert said[0] == f"01_profile: running again, {reason}"


def test_ctrl_c_is_told_with_the_stage_and_lets_the_next_run_in(notebooks, monkeypatch):
    def interrupt(stage, workspace, given, say):
        raise KeyboardInterrupt

    monkeypatch.setattr(chain, "run_notebook", interrupt)
    with pytest.raises(
        Interrupted, match="04_distil was interrupted; repeat the command with --res"
    ):
        notebooks.resume({"temperature": 2})
    notebooks.workspace.claim("signal", "the next run")


DIE = """import os, signal
with open(run_dir + "/begun", "a") as begun:
    begun.write(os.environ.get("TF_ENABLE_ONEDNN_OPTS", "on") + " ")
{condition} or {end}"""
KILL = "os.kill(os.getpid(), signal.{signal})"
WITHOUT_ONEDNN = 'os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0"'


def begun(workspace):
    """With what setting of oneDNN each kernel of the stage that dies was begun."""
    return (workspace.path / "begun").read_text().split()


@pytest.fixture
def dying(workspace, tmp_path):
    """Makes 01 die in its second cell, and runs it: the error or None, and what was said."""

    def run(end, condition="False", resume=False):
        write_notebook(tmp_path, "01_profile", DIE.format(condition=condition, end=end))
        said = []
        try:
            run_chain(workspace, {"case": "signal"}, select_stages(None, "01"), resume, said.append)
        except ChainError as error:
            return error, said
        return None, said

    return run


@pytest.mark.parametrize("signal", ["SIGABRT", "SIGSEGV"])
def test_a_kernel_that_crashes_is_started_once_more_with_onednn_off(dying, workspace, signal):
    told = f"open(run_dir + '/told', 'w').write(os.environ['{RESTARTED_AFTER}'])"
    end = KILL.format(signal=signal)
    error, said = dying(end, condition=f"({WITHOUT_ONEDNN} and {told})")
    assert error is None
    assert begun(workspace) == ["on", "0"]
    assert said == [
        f"01_profile: the kernel crashed ({signal})",
        "01_profile: running it with TF_ENABLE_ONEDNN_OPTS=0, since oneDNN crashes on some "
        "processors",
    ]
    assert (workspace.path / "told").read_text() == signal
    assert not {ONEDNN, RESTARTED_AFTER} & set(os.environ)
    assert sorted(path.name for path in workspace.notebooks.iterdir()) == ["01_profile.ipynb"]


def test_a_kernel_that_crashes_again_is_told_and_a_resumed_run_knows(dying, workspace):
    error, said = dying(KILL.format(signal="SIGABRT"))
    message = str(error)
    assert re.match(r"01_profile, cell \[3\], after \d+ s: the kernel crashed \(SIGABRT\)", message)
    assert "TF_ENABLE_ONEDNN_OPTS=0" in message
    assert "change a parameter of the stage" in message
    assert len(message.splitlines()) == 1
    assert begun(workspace) == ["on", "0"]

    error, said = dying(KILL.format(signal="SIGSEGV"), resume=True)
    assert "the kernel crashed (SIGSEGV)" in str(error)
    assert said[0] == "01_profile: its kernel died last time (SIGABRT)"
    assert begun(workspace) == ["on", "0", "0"]

    error, said = dying(KILL.format(signal="SIGABRT"), condition=WITHOUT_ONEDNN, resume=True)
    assert error is None
    assert begun(workspace) == ["on", "0", "0", "0"]
    assert not list(workspace.notebooks.glob(".*"))


@pytest.mark.parametrize(
    ("end", "rose", "message"),
    [
        (KILL.format(signal="SIGKILL"), 1, r"was killed \(SIGKILL\), because memory ran out"),
        (KILL.format(signal="SIGKILL"), None, r"\(SIGKILL\), most likely because memory ran out"),
        (KILL.format(signal="SIGKILL"), 0, "something killed the kernel .*memory had not run out"),
        (KILL.format(signal="SIGTERM"), 0, "the kernel ended with SIGTERM"),
        ("os._exit(3)", 0, "the kernel ended with exit code 3"),
    ],
)
def test_a_kernel_that_was_ended_is_not_started_again(
    dying, workspace, monkeypatch, end, rose, message
):
    for module in (chain, kernel):  # before and after
        kills = None if rose is None else 7 + (rose if module is kernel else 0)
        monkeypatch.setattr(module, "out_of_memory_kills", lambda kills=kills: kills)
    error, said = dying(end)
    assert re.search(rf"^01_profile, cell \[3\], after \d+ s: .*{message}", str(error))
    assert "--resume" in str(error)
    assert said == []
    assert begun(workspace) == ["on"]
    assert workspace.running_notebook("01_profile").exists()


def test_where_onednn_was_off_already_a_crash_is_the_end(dying, workspace, monkeypatch):
    monkeypatch.setenv(ONEDNN, "0")
    error, said = dying(KILL.format(signal="SIGABRT"))
    assert "not because of oneDNN, which was off" in str(error)
    assert said == []
    assert begun(workspace) == ["0"]
    assert os.environ[ONEDNN] == "0"


def test_a_notebook_that_cannot_be_written_is_told_in_a_line(workspace):
    workspace.running_notebook("01_profile").mkdir(parents=True)
    with pytest.raises(WorkspaceError, match=r"01_profile\.ipynb cannot be written \(Is a direc"):
        run_chain(workspace, {"case": "signal"})


def test_the_second_of_two_runs_is_refused_by_name(tmp_path, capsys):
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Event(), spawn.Event()
    first = spawn.Process(target=claim_elsewhere, args=(tmp_path, "kopt run", ready, done))
    first.start()
    try:
        assert ready.wait(PATIENCE)
        with pytest.raises(SystemExit) as ended:
            main(["run", "--run-dir", str(tmp_path)])
    finally:
        done.set()
        first.join()
    assert ended.value.code == 2
    complaint = capsys.readouterr().err
    assert f"is being written by kopt run (process {first.pid})" in complaint
    assert len(complaint.splitlines()) == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sparsity": 0.5}, r"sparsity: no notebook from 01_profile to 08_serve has this"),
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
    write_notebook(
        tmp_path, "01_profile", "from kopt.cases.catalogue import find_case; find_case(case)"
    )
    monkeypatch.chdir(tmp_path)
    run_chain(workspace, {"case": "mine.py:case"}, select_stages(None, "01"))


def test_a_run_that_cannot_start_where_it_is_told_to_is_refused_before(workspace):
    with pytest.raises(StageError, match="02_rewrite continues from 01_profile"):
        run_chain(workspace, {"case": "signal"}, select_stages("02", None))
    assert not workspace.path.exists()


def test_stages_are_chosen_by_number_or_name():
    assert select_stages("2", "04_distil") == STAGES[1:4]
    assert select_stages(None, None) == STAGES
    with pytest.raises(ParameterError, match="stage '09': no such stage"):
        select_stages("09", None)
    with pytest.raises(ParameterError, match="nothing to run"):
        select_stages("04", "02")


def test_a_notebooks_parameters_are_read_from_its_cell():
    assert notebook_parameters("03_prune") == {
        "case": "signal",
        "run_dir": None,
        "seed": 0,
        "quick": False,
        "task": None,
        "sparsity": 0.8,
        "fraction": None,
        "epochs": None,
        "chain": None,
        "budget": None,
    }


def test_what_asyncio_tells_of_a_task_is_kept_unless_a_kernel_died(caplog):
    async def fail(error):
        raise error

    async def forget():
        errors = (DeadKernelError("Kernel died"), ValueError("a fault"))
        await asyncio.wait([asyncio.ensure_future(fail(error)) for error in errors])

    asyncio.run(forget())
    gc.collect()
    told = [record.exc_info[0] for record in caplog.records if record.name == "asyncio"]
    assert told == [ValueError]
