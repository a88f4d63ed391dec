"""The command line: kopt run, sweep, search, report, deploy, serve, ..., and leankeras's."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from leankeras import cli
from leankeras.cli import PATH
from leankeras.errors import ParameterError
from leankeras.files import MODEL_ENDINGS

CASE = (
    click.argument("case", required=False),
    click.option(
        "--model", type=PATH, help="A trained .keras or .h5 model, instead of CASE; needs --data."
    ),
    click.option("--data", type=PATH, help="x_train, y_train, ...: an .npz, or a folder of .npy."),
    click.option("--task", help="What the labels mean, such as regression.  [default: inferred]"),
    cli.IMPORT,
    click.option(
        "--budget", help='For example "2 ms, 50 kB, 0.5 points".  [default: the case\'s own]'
    ),
    click.option(
        "--quick", is_flag=True, help="Few samples and epochs, to check that everything works."
    ),
)
CLUSTER = (
    click.option(
        "--scheduler", envvar="KOPT_SCHEDULER", show_envvar=True, metavar="ADDRESS",
        help="A Dask scheduler.  [default: a new cluster on this machine]",
    ),
    click.option(
        "--workers", type=click.IntRange(1),
        help="Processes of a new cluster.  [default: one per core]",
    ),
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def commands() -> None:
    """Make slow Keras models fast enough to deploy, and prove it."""


@commands.command()
@cli.shared(CASE)
@click.option("--run-dir", type=PATH, help="Where to keep the run.  [default: runs/CASE]")
@click.option("--from", "first", metavar="NN", help="First stage, such as 03.")
@click.option("--to", "last", metavar="NN", help="Last stage.")
@click.option(
    "-p", "--parameter", "pairs", nargs=2, multiple=True, metavar="NAME VALUE",
    help="A notebook parameter; can be repeated.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Skip finished stages.")
def run(
    case: str | None,
    model: Path | None,
    data: Path | None,
    task: str | None,
    modules: tuple[str, ...],
    budget: str | None,
    run_dir: Path | None,
    first: str | None,
    last: str | None,
    pairs: tuple[tuple[str, str], ...],
    quick: bool,
    resume: bool,
) -> None:
    """Run the notebooks in order on CASE and write the report.

    CASE is signal (the default), vision, stream, nodule, or FILE.py:NAME for your own kopt.Case.
    """
    from kopt.cases.catalogue import case_name, check_run
    from kopt.display.report import write_report
    from kopt.execution.chain import run_chain, select_stages
    from kopt.project import RUNS
    from kopt.workspace.directory import Workspace
    from kopt.workspace.record import table_in_words, verdict
    from leankeras.parameters import read_value

    case = _case(case, model, data, modules)
    workspace = Workspace(run_dir or RUNS / case_name(case))
    parameters: dict[str, Any] = {"case": case} | ({"quick": True} if quick else {})
    named = {"task": task, "budget": budget}
    for name, value in [*((n, value) for n, value in named.items() if value is not None), *pairs]:
        if name in ("case", "run_dir"):
            raise ParameterError(f"{name} is not a parameter of a run; use CASE or --run-dir")
        if name in parameters:
            raise ParameterError(f"{name} is given twice; expected one value")
        parameters[name] = read_value(value)
    if task or budget:
        check_run(case, task, budget)
    stages = select_stages(first, last)
    run_chain(workspace, parameters, stages, resume, say=click.echo)
    if last is None and stages[-1] < "08":
        click.echo("08_serve is left out; it needs the extra serve: uv sync --extra serve")
    report = write_report([workspace], workspace.path / "report.html")
    records = workspace.records()
    click.echo(f"\n{table_in_words(records).to_string()}\n\n{verdict(records)}\nreport: {report}")


def _case(case: str | None, model: Path | None, data: Path | None, modules: tuple[str, ...]) -> str:
    """The case that a command line names."""
    from kopt.cases.catalogue import trained

    if (model is None) != (data is None) or (model and case):
        raise ParameterError("expected CASE, or --model and --data together")
    if modules and not model:
        raise ParameterError("--import goes with --model; a FILE.py imports what it needs itself")
    if model and model.suffix not in MODEL_ENDINGS:
        raise ParameterError(f"{model}: expected a .keras or .h5 file, as model.save writes it")
    return trained(model, data, modules) if model else case or "signal"


@commands.command()
@click.argument("grid", type=PATH)
@click.option("--run-dir", type=PATH, help="Where to keep the sweep.  [default: runs/sweep-GRID]")
@click.option("--to", "last", metavar="NN", help="Last stage.  [default: 06]")
@cli.shared(CLUSTER)
@click.option("--resume", is_flag=True, help="Keep what has finished and rerun what failed.")
@click.option("--yes", "many", is_flag=True, help="Allow more than 1000 points.")
def sweep(grid: Path, run_dir: Path | None, **options: Any) -> None:
    """Run the notebooks with Dask on every point of GRID, a YAML file of their parameters.

    A list in GRID is an axis. Exits with 1 if a point failed.
    """
    from kopt.execution.results import in_words
    from kopt.execution.sweep import run_sweep
    from kopt.project import RUNS

    folder = run_dir or RUNS / f"sweep-{grid.stem}"
    table = run_sweep(grid, folder, **options)
    click.echo(f"\n{in_words(table)}\n\nreport: {folder / 'report.html'}")
    sys.exit(bool((table.status == "failed").any()))


@commands.command()
@cli.shared(CASE)
@click.option("--goal", default="fastest", help="fastest, smallest, accurate, or front.")
@click.option("--minutes", type=float, help="How long, all included.  [default: 30]")
@click.option("--trials", type=int, help="How many chains to try.  [default: as time allows]")
@click.option("--seed", default=0, help="The same seed and number of trials try the same chains.")
@click.option("--sampler", default="tpe", help="tpe, nsga2, or random.")
@click.option("--mode", "modes", multiple=True, help="A mode the file may have; repeatable.")
@click.option("--run-dir", type=PATH, help="Where to keep the search.  [default: runs/search-CASE]")
@cli.shared(CLUSTER)
@click.option("--resume", is_flag=True, help="Continue; at most the trials at work are lost.")
def search(
    case: str | None,
    model: Path | None,
    data: Path | None,
    modules: tuple[str, ...],
    modes: tuple[str, ...],
    **options: Any,
) -> None:
    """Search for the best file of CASE within a budget, and say how to make it again."""
    from kopt.execution.searching import search

    options |= {"modes": modes} if modes else {}
    found = search(_case(case, model, data, modules), **options)
    click.echo(f"\n{found}\nreport: {found.report}")


@commands.command()
@click.argument("run_dirs", nargs=-1, required=True, type=PATH)
@click.option("-o", "--output", type=PATH, help="[default: report.html in the first RUN_DIR]")
def report(run_dirs: tuple[Path, ...], output: Path | None) -> None:
    """Write one self-contained HTML page from the records of RUN_DIRS."""
    from kopt.display.report import write_report
    from kopt.workspace.directory import Workspace

    if output and output.suffix != ".html":
        raise ParameterError(f"{output}: expected a name that ends in .html")
    workspaces = [Workspace(path) for path in run_dirs]
    click.echo(write_report(workspaces, output or run_dirs[0] / "report.html"))


@commands.command()
@click.argument("run_dir", type=PATH)
@click.argument("target", metavar="[USER@HOST:DIR]", required=False)
@click.option("--install", is_flag=True, help="Install numpy and ai-edge-litert there, in DIR.")
@click.option("--rollback", is_flag=True, help="Switch back to the file that served before.")
def deploy(run_dir: Path, target: str | None, install: bool, rollback: bool) -> None:
    """Ship the final file of RUN_DIR by ssh, try it there, and only then switch to it.

    DIR/current/model.tflite is the file that serves. Without a target, print what was deployed.
    """
    from kopt.execution.deployment import deploy_run, deployments, rollback_run
    from kopt.workspace.directory import Workspace

    workspace = Workspace(run_dir)
    if target is None:
        for place, entry in deployments(workspace).items():
            stage = entry["stage"] or "from another run"
            click.echo(f"{place}: {entry['digest'][:12]} ({stage}), {entry['time']}")
    elif rollback:
        click.echo(rollback_run(workspace, target))
    else:
        click.echo(deploy_run(workspace, target, install, click.echo))


@commands.command()
@click.argument("run_dir", type=PATH)
@cli.shared(cli.SERVING)
def serve(run_dir: Path, **options: Any) -> None:
    """Serve the final file of RUN_DIR by HTTP and gRPC (KServe's V2 protocol)."""
    from kopt.execution.deployment import final_file
    from kopt.workspace.directory import Workspace
    from leankeras import serving
    from leankeras.arrays import identifier

    given, workspace = serving.Serving(**options), Workspace(run_dir)
    file = final_file(workspace)
    name = identifier(workspace.record(file.stem).case)
    serving.serve(file, workspace.path / "serve", given, name, click.echo)


@commands.command()
@click.argument("folder", metavar="DIR", type=PATH)
def workshop(folder: Path) -> None:
    """Copy the notebooks to DIR for learners, without the solutions to the exercises."""
    from kopt.execution.learner import write_learners_copy

    click.echo(write_learners_copy(folder))


@commands.command()
def lab() -> None:
    """Open JupyterLab on the notebooks."""
    from kopt.project import NOTEBOOKS

    sys.exit(subprocess.call([sys.executable, "-m", "jupyter", "lab", str(NOTEBOOKS)]))


for command in (cli.diagnose, cli.rewrite, cli.convert, cli.bench, cli.devices, cli.pipeline):
    commands.add_command(command)


def main(arguments: list[str] | None = None) -> Any:
    """Run a kopt command."""
    return cli.run(commands, "kopt", arguments)
