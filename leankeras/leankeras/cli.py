"""The command line: python -m leankeras diagnose, rewrite, convert, bench, deploy, serve."""

import json
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from leankeras.errors import DataError, KoptError, ParameterError
from leankeras.modes import MODES

PATH = click.Path(path_type=Path)
IMPORT = click.option(
    "--import", "modules", multiple=True, metavar="MODULE",
    help="A module that registers custom layers; can be repeated.",
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def commands() -> None:
    """Make Keras models lean, and measure them."""


@commands.command()
@click.argument("artifacts", nargs=-1, required=True, type=PATH)
@click.option(
    "--samples", type=PATH,
    help="An .npz; its first sample is timed.  [default: random numbers]",
)  # fmt: skip
@IMPORT
@click.option("--threads", default=1, type=click.IntRange(1), help="Threads for LiteRT.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(
    artifacts: tuple[Path, ...],
    samples: Path | None,
    modules: tuple[str, ...],
    threads: int,
    as_json: bool,
) -> None:
    """Time ARTIFACTS side by side, as ratios to the first.

    An artifact is a .tflite, a .keras or .h5 file or a SavedModel; .tflite files alone need no
    TensorFlow.
    """
    from leankeras.arrays import first, load_samples
    from leankeras.runtime import compare_latency, random_sample
    from leankeras.scripts import import_module

    given = first(load_samples(samples)) if samples else None
    for module in modules:
        import_module(module)
    sample = random_sample(artifacts[0]) if given is None else given
    names = [str(path) for path in artifacts]
    repeated = [
        name if name not in names[:position] else f"{name} ({position + 1})"
        for position, name in enumerate(names)
    ]
    targets = dict(zip(repeated, artifacts, strict=True))
    comparison = compare_latency(targets, sample, threads=threads)
    if as_json:
        table = json.loads(comparison.table.to_json(orient="index"))
        click.echo(json.dumps({"conditions": comparison.conditions, "targets": table}, indent=1))
    else:
        click.echo(comparison)


@commands.command()
@click.argument("target")
@click.option(
    "--input-shape", "shapes", multiple=True, metavar="[NAME=]N,N,...",
    help="Shape of one sample, to run the layer as well; once for each input.",
)  # fmt: skip
@click.option(
    "--samples", type=PATH, help="An .npz with samples to run it on: x, x_train, or by input name."
)
@IMPORT
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diagnose(
    target: str,
    shapes: tuple[str, ...],
    samples: Path | None,
    modules: tuple[str, ...],
    as_json: bool,
) -> None:
    """Report what makes TARGET slow or hard to deploy; exit with 1 if any finding is an error.

    TARGET is FILE.py:Class, module:Class, FILE.py:NAME of a layer or model, or a .keras or
    .h5 file.
    """
    from leankeras.arrays import load_samples
    from leankeras.diagnosis import diagnose as diagnose_target
    from leankeras.scripts import import_module

    input_shape = _input_shape(shapes)
    given = load_samples(samples) if samples else None
    for module in modules:
        import_module(module)
    diagnosis = diagnose_target(target, input_shape, given)
    click.echo(json.dumps(diagnosis.to_dict(), indent=1) if as_json else diagnosis)
    sys.exit(any(finding.severity == "error" for finding in diagnosis.findings))


@commands.command()
@click.argument("model", type=PATH)
@click.option("-o", "--output", required=True, type=PATH, help="The file to write.")
@click.option("--mode", type=click.Choice(MODES), help="For a .tflite.  [default: int8]")
@click.option(
    "--data", type=PATH,
    help="An .npz of samples (x_train, or x, or one array for each input) to calibrate with.",
)  # fmt: skip
@IMPORT
def convert(
    model: Path, output: Path, mode: str | None, data: Path | None, modules: tuple[str, ...]
) -> None:
    """Convert MODEL, a .keras or .h5 file, to a verified file; OUTPUT's ending sets its format.

    It is .tflite (also from a SavedModel directory), .onnx (with leankeras[onnx]), .keras, .h5,
    or nothing for a SavedModel directory, as TensorFlow Serving expects it.
    """
    from leankeras.arrays import load_samples
    from leankeras.conversion import convert as convert_model
    from leankeras.scripts import import_module

    samples, held_out = (load_samples(data, part) if data else None for part in ("train", "test"))
    for module in modules:
        import_module(module)
    if output.suffix == ".tflite":
        try:
            made = convert_model(
                model, output, mode or "int8", calibration=samples, evaluation=held_out
            )
        except DataError as error:
            if data is None:
                raise
            raise DataError(f"{data}: {error}") from error
    else:
        from leankeras.conversion import FORMATS, save_model
        from leankeras.files import check_place
        from leankeras.runtime import load_keras

        check_place(output, [".tflite", *FORMATS])
        if mode:
            raise ParameterError(f"--mode {mode} is for a .tflite; leave it out for {output}")
        if model.is_file() and output.is_file() and output.samefile(model):
            raise ParameterError(f"{output} is the model itself; give another name")
        made = save_model(load_keras(model), output, samples)
    click.echo(made)


@commands.command()
@click.argument("target")
@click.option(
    "--input-shape", "shapes", multiple=True, metavar="[NAME=]N,N,...",
    help="Shape of one sample; once for each input.",
)  # fmt: skip
@click.option("-o", "--output", type=PATH, help="The .py file to write.  [default: print it]")
@click.option(
    "--for-inference", is_flag=True, help="Only inference has to be the same, not training."
)
@IMPORT
def rewrite(
    target: str,
    shapes: tuple[str, ...],
    output: Path | None,
    for_inference: bool,
    modules: tuple[str, ...],
) -> None:
    """Rewrite TARGET so that what its loops repeat is done at once, and prove that it is the same.

    TARGET is FILE.py:Class, module:Class, FILE.py:NAME of a layer or model, or a .keras file. What
    is written is a Keras layer with a function port(old, new), which carries the weights over.
    """
    from leankeras.diagnosis import resolve
    from leankeras.errors import RewriteError
    from leankeras.files import check_place, write_text
    from leankeras.rewriting import rewrite as rewrite_layer
    from leankeras.scripts import import_module

    input_shape = _input_shape(shapes)
    if output:
        check_place(output, [".py"])
    for module in modules:
        import_module(module)
    found = resolve(target)
    if found.layer is None:
        raise RewriteError(
            f"{found.untried}; make one in the file, as NAME = {found.cls.__name__}(...), and give "
            "FILE.py:NAME"
        )
    rewriting = rewrite_layer(found.layer, input_shape, for_inference)
    if output is None:
        click.echo(rewriting)
    else:
        write_text(output, rewriting.source)
        click.echo(f"{rewriting.summary()}\n{output}")


@commands.command()
@click.argument("file", required=False, type=PATH)
@click.option("--samples", type=PATH, help="An .npz with samples for FILE.")
@click.option("--install", is_flag=True, help="Fetch the ARM emulator from Debian and PyPI.")
def devices(file: Path | None, samples: Path | None, install: bool) -> None:
    """Try FILE, a .tflite, on the devices that this machine has the tools for.

    Exits with 1 if an emulated processor gives other answers. TFLite Micro, another runtime, may
    round otherwise; its row says so. Without FILE, list the tools, and how to get the rest.
    """
    from leankeras.arrays import load_samples
    from leankeras.devices import install_emulator, survey_devices, tools

    if (file is None) != (samples is None):
        raise ParameterError("expected FILE and --samples together")
    if install:
        install_emulator(click.echo)
    if file is None:
        for name, row in tools().iterrows():
            how = "" if row.there else f"; {row.get_it}"
            click.echo(f"{'there  ' if row.there else 'missing'}  {name}: {row.gives}{how}")
        return
    survey = survey_devices(file, load_samples(samples))
    click.echo(survey)
    sys.exit(not survey.processors_agree)


@commands.command()
@click.argument("file", type=PATH)
@click.argument("target", metavar="USER@HOST:DIR")
@click.option("--samples", type=PATH, required=True, help="An .npz with test vectors.")
@click.option("--slow", type=PATH, required=True, help="The .tflite to measure FILE against.")
@click.option("--install", is_flag=True, help="Install numpy and ai-edge-litert there, in DIR.")
def deploy(file: Path, target: str, samples: Path, slow: Path, install: bool) -> None:
    """Ship FILE, a .tflite, by ssh, try it there, and only then switch to it."""
    from leankeras.arrays import load_samples
    from leankeras.devices import deploy as deploy_file

    given = load_samples(samples)
    click.echo(deploy_file(file, target, given, slow, install=install, say=click.echo))


SERVING = (
    click.option("--host", default="127.0.0.1", help="Another address lets others call it."),
    click.option("--port", default=8080, help="For HTTP."),
    click.option("--grpc-port", default=8081, help="For gRPC; metrics are one port further."),
    click.option("--batch-size", default=32, help="The most samples run together; 1 for none."),
    click.option(
        "--batch-time", "batch_ms", default=0.0, metavar="MS", help="How long one waits for others."
    ),
    click.option("--cache", default=0, metavar="ANSWERS", help="How many answers to keep."),
    click.option("--workers", default=0, help="Processes for the file; 0 for the server's own."),
    click.option("--threads", default=1, help="CPU threads of each."),
)  # fmt: skip


def shared(options: tuple[Callable, ...]) -> Callable:
    """A decorator with the options that several commands have."""
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


@commands.command()
@click.argument("file", type=PATH)
@click.option("-o", "--output", type=PATH, default=Path("serve"), help="The folder to write.")
@shared(SERVING)
def serve(file: Path, output: Path, **options: Any) -> None:
    """Serve FILE, a .tflite or SavedModel, by HTTP and gRPC (KServe's V2 protocol).

    The folder can be started again with mlserver start.
    """
    from leankeras.serving import Serving
    from leankeras.serving import serve as serve_file

    serve_file(file, output, Serving(**options), file.stem, click.echo)


@commands.command()
@click.argument("model", type=PATH)
@click.argument("data", type=PATH)
@click.option("-o", "--output", type=PATH, default=Path(".github/workflows/model.yml"))
def pipeline(model: Path, data: Path, output: Path) -> None:
    """Write a GitHub Actions workflow that converts MODEL, tries it, and deploys it on a tag."""
    from leankeras.devices import write_workflow

    click.echo(write_workflow(model, data, output))


def _input_shape(texts: tuple[str, ...]) -> Any:
    """None, one shape, a list of several, or a dict if they are named."""
    named = [name for name, equals, _ in (text.partition("=") for text in texts) if equals]
    if named and (len(named) < len(texts) or len(set(named)) < len(named)):
        raise ParameterError(
            f"input shape: saw {' '.join(texts)}; expected names for all shapes, or for none"
        )
    shapes = [_shape(text.rpartition("=")[2]) for text in texts]
    if named:
        return dict(zip(named, shapes, strict=True))
    return shapes if len(shapes) > 1 else next(iter(shapes), None)


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise ParameterError(f"input shape: saw {text!r}; expected numbers, like 256,16") from None


def run(group: click.Group, name: str, arguments: list[str] | None = None) -> Any:
    """Run a command; an error that a user can fix is printed in one line and sets the exit code.

    Args:
        group: the commands.
        name: the program's name, for its messages.
        arguments: command-line arguments; by default those of this process.
    """
    try:
        return group.main(arguments, prog_name=name)
    except KoptError as error:
        click.echo(f"{name}: {error}", err=True)
        sys.exit(error.exit_code)


def main(arguments: list[str] | None = None) -> Any:
    """Run a command of leankeras."""
    return run(commands, "leankeras", arguments)
