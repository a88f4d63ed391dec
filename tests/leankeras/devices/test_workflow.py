"""The workflow that ``kopt pipeline`` writes: its steps, run by bash as they stand."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from leankeras.cli import main
from leankeras.devices import find_emulator, write_workflow
from leankeras.errors import ParameterError
from tests.leankeras.devices.conftest import script

# a release is a folder that outlives the run
GH = """
case "$1 $2" in
"release download") cp {releases}/model.tflite build/last/ 2>/dev/null ;;
"release create") mkdir -p {releases} && cp "$4" {releases}/ ;;
esac
"""


@pytest.fixture
def repository(model, samples, tmp_path, monkeypatch):
    """A user's repository with a trained model, its samples and the workflow."""
    folder = tmp_path / "their repository"
    (folder / "models").mkdir(parents=True)
    monkeypatch.chdir(folder)
    model.save("models/own model.keras")
    np.savez("data.npz", x_train=samples, x_test=samples[:4])
    with pytest.raises(SystemExit) as ended:
        main(["pipeline", "models/own model.keras", "data.npz"])
    assert not ended.value.code
    return folder


@pytest.fixture
def machine(tmp_path, host, monkeypatch):
    """A runner with everything installed, and a stand-in for GitHub's own program."""
    programs = tmp_path / "programs"
    programs.mkdir()
    script(programs / "pip", 'echo "$@"')
    # a measurement takes no time here, and the emulator is there already or is not to be fetched
    script(
        programs / "leankeras",
        'if [ "$*" = "devices --install" ]; then exit 0; fi',
        f'exec {sys.executable} -c "'
        "from leankeras.devices import deployment; deployment.SECONDS = 0.01; "
        "from leankeras.runtime import measure_briefly; measure_briefly(); "
        'from leankeras.cli import main; main()" "$@"',
    )
    releases = tmp_path / "releases"
    script(programs / "gh", "mkdir -p build/last 2>/dev/null", GH.format(releases=releases))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return releases


def steps(folder, target, chosen):
    """Run some of the job's steps in order, as GitHub does; what each printed, by its name."""
    job = yaml.safe_load((folder / ".github/workflows/model.yml").read_text())["jobs"]["model"]
    given = {"${{ secrets.DEPLOY_TARGET }}": target, "${{ github.token }}": "token"}
    said = {}
    for step in job["steps"]:
        if "run" not in step or not chosen(step):
            continue
        variables = job["env"] | step.get("env", {})
        values = {name: given.get(value, value) for name, value in variables.items()}
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
            cwd=folder, capture_output=True, text=True,
            env={**os.environ, **values, "GITHUB_REF_NAME": "v1"},
        )  # fmt: skip
        assert done.returncode == 0, (step["name"], done.stdout, done.stderr)
        said[step["name"]] = done.stdout
    return said


def test_its_steps_convert_try_compare_and_deploy(repository, machine, host, tmp_path):
    device, comparing = tmp_path / "device", "Compare with the last release"
    said = steps(repository, host.target(device), lambda step: True)
    built = (repository / "build/model.tflite").read_bytes()
    assert (device / "current/model.tflite").read_bytes() == built
    assert (machine / "model.tflite").read_bytes() == built
    assert "the first file there" in said["Deploy"]
    assert "build/float32.tflite" in said[comparing]
    assert ("cortex-a72, emulated is left out" in said["Try it on other devices"]) == (
        find_emulator() is None
    )
    again = steps(repository, host.target(device), lambda step: step["name"] == comparing)
    assert "build/last/model.tflite" in again[comparing]


def test_it_is_a_workflow_with_no_secret_in_it(repository):
    text = (repository / ".github/workflows/model.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["name"] == "model"
    job = workflow["jobs"]["model"]
    assert job["env"]["MODEL"] == "models/own model.keras"
    assert all(("run" in step) != ("uses" in step) for step in job["steps"])
    # what a step is given comes from its environment: nothing is pasted into a shell
    assert all("${{" not in step.get("run", "") for step in job["steps"])
    assert {step["name"] for step in job["steps"] if "if" in step} == {"Deploy", "Release"}


@pytest.mark.parametrize(
    ("model_path", "data_path", "output", "message"),
    [
        ("none.keras", "data.npz", "a.yml", "none.keras: no such file"),
        ("../own.keras", "data.npz", "a.yml", "inside the repository"),
        ("models/own model.keras", "data.csv", "a.yml", "expected the path of a .npz"),
        ("models/own model.keras", "data.npz", ".github/workflows/model.yml", "exists; remove it"),
        ("models/own model.keras", "data.npz", "a.txt", "expected a name that ends in .yml"),
    ],
)
def test_what_it_cannot_be_written_for_is_refused(
    repository, model_path, data_path, output, message, monkeypatch
):

    before = sorted(repository.rglob("*"))
    with pytest.raises(ParameterError, match=message):
        write_workflow(Path(model_path), Path(data_path), Path(output))
    assert sorted(repository.rglob("*")) == before
