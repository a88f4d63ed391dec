import os
import runpy
import subprocess
import sys
import tomllib

import yaml

from kopt.project import ROOT


def test_environment_yml_is_the_lock():
    printed = runpy.run_path(str(ROOT / ".ci/environment.py"))["environment"]()
    assert (ROOT / "environment.yml").read_text() == printed


def test_environment_yml_reads_as_conda_reads_it():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert set(environment) == {"name", "channels", "dependencies"}
    python, pip, packages = environment["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    assert packages["pip"][-1] == "-e ."


def test_the_lock_is_up_to_date():
    subprocess.run(
        ["uv", "lock", "--check", "--offline"], cwd=ROOT, check=True, capture_output=True
    )


def test_the_six_named_packages_are_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {line.partition("=")[0].rstrip("><") for line in project["dependencies"]}
    assert names >= {
        "jupyterlab", "tensorflow", "tensorflow-model-optimization", "ipywidgets", "plotly",
        "papermill",
    }  # fmt: skip


def test_an_installation_that_many_share_keeps_runs_elsewhere(tmp_path):
    program = "from kopt.project import RUNS; print(RUNS)"
    environment = os.environ | {"KOPT_RUNS": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == str(tmp_path)
