import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from kopt.cli import main
from kopt.workspace.directory import Workspace
from leankeras.conversion.tflite import convert
from tests.kopt.workspace.test_directory import leave


def kopt(*arguments, capsys):
    """Exit code, what was printed, and what was complained about."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return ended.value.code or 0, printed.out, printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "sginal"], "case: saw 'sginal'; expected signal, vision, stream"),
        (["run", "-p", "fractoin", "0.5"], "fractoin: no notebook from 01_profile to 08_serve"),
        (["run", "-p", "sparsity", "1.0"], "sparsity: saw 1.0; expected a number from 0 to below"),
        (["run", "-p", "temperature", "0"], "temperature: saw 0; expected a number above 0"),
        (["run", "-p", "alpha", "1.5"], "alpha: saw 1.5; expected a number from 0 to 1"),
        (["run", "-p", "epochs", "-1"], "epochs: saw -1; expected an integer of at least 1"),
        (["run", "-p", "seed", "one"], "seed: saw 'one'; expected an integer"),
        (["run", "--from", "9"], "stage '9': no such stage"),
        (["run", "--from", ""], "stage '': no such stage"),
        (["run", "--run-dir", "{folder}/new", "--from", "6"], "05_qat, which has not finished"),
        (["run", "-p", "case", "5"], "case is not a parameter of a run; use CASE"),
        (["run", "-p", "quick", "maybe"], "quick: saw 'maybe'; expected True or False"),
        (["run", "-p", "alpha", "0.5", "-p", "alpha", "1e-1"], "alpha is given twice"),
        (["run", "--budget", ""], "budget: saw ''; expected limits such as"),
        (["run", "--model", "m.keras"], "expected CASE, or --model and --data together"),
        (["run", "--model", "m.pt", "--data", "d.npz"], "m.pt: expected a .keras or .h5 file"),
        (["report", "{folder}", "-o", "m.keras"], "m.keras: expected a name that ends in .html"),
        (["run", "-p", "alpha", "["], "alpha: saw '['"),
        (["run", "--run-dir", "/proc/run"], "/proc/run cannot be written"),
        (["report", "{folder}"], "has no finished stage"),
        (["deploy", "{folder}", "me@host:dir"], "has no finished stage"),
        (["serve", "{folder}"], "has no finished stage"),
        (["serve", "{folder}", "--batch-size", "0"], "batch_size: saw 0; expected an integer from"),
        (["serve", "{folder}", "--batch-time", "-1"], "batch_ms: saw -1.0; expected 0 to 1000"),
        (["serve", "{folder}", "--cache", "-5"], "cache: saw -5; expected a number of answers"),
        (["serve", "{folder}", "--workers", "-1"], "workers: saw -1; expected an integer from 0"),
        (["serve", "{folder}", "--threads", "0"], "threads: saw 0; expected an integer from 1"),
        (["serve", "{folder}", "--port", "0"], "ports: saw (0, 8081, 8082); expected three"),
        (["serve", "{folder}", "--grpc-port", "8080"], "ports: saw (8080, 8080, 8081); expected"),
        (["run", "-p", "npu", "ethos-n78"], "npu: saw 'ethos-n78'; expected one of ethos-u55-32"),
        (["report", "{folder}/none"], "is not a run directory"),
        (["bench", "{folder}"], "not a SavedModel"),
        (["convert", "a.keras", "-o", "{folder}/a.pb"], "expected a name that ends in .tflite"),
        (["bench", "{folder}/none.tflite"], "none.tflite"),
        (["convert", "{folder}/none.keras", "-o", "{folder}/a.tflite"], "none.keras"),
        (["diagnose", "nothing"], "nothing"),
        (["diagnose", "nothing", "--input-shape", "a"], "input shape: saw 'a'"),
    ],
)
def test_bad_input_ends_with_a_line_and_exit_code_2(arguments, message, tmp_path, capsys):
    arguments = [argument.format(folder=tmp_path) for argument in arguments]
    code, out, complaint = kopt(*arguments, capsys=capsys)
    assert code == 2
    assert complaint.startswith("kopt: ")
    assert message in complaint
    assert len(complaint.splitlines()) == 1
    assert out == ""
    assert not list(tmp_path.iterdir())


def test_a_model_goes_from_a_file_to_a_benchmark(small_model, blobs, tmp_path, capsys):
    small_model.save(tmp_path / "model.keras")
    np.savez(
        tmp_path / "data.npz",
        **{name: getattr(blobs, name) for name in ("x_train", "y_train", "x_test", "y_test")},
    )
    for mode in ("float32", "int8"):
        code, out, _ = kopt(
            "convert", tmp_path / "model.keras", "-o", tmp_path / f"{mode}.tflite",
            "--mode", mode, "--data", tmp_path / "data.npz", capsys=capsys,
        )  # fmt: skip
        assert code == 0
        assert mode in out
    files = [tmp_path / "float32.tflite", tmp_path / "int8.tflite"]
    code, out, _ = kopt("bench", *files, "--json", capsys=capsys)
    assert code == 0
    assert set(json.loads(out)["targets"]) == set(map(str, files))


def test_bench_of_tflite_files_needs_neither_tensorflow_nor_jupyter(small_model, tmp_path):
    convert(small_model, tmp_path / "a.tflite", mode="float32")
    code = (
        "import sys\nfrom kopt.cli import main\n"
        "try:\n    main(['bench', sys.argv[1], sys.argv[1]])\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        "print([name for name in ('tensorflow', 'keras', 'jupyterlab', 'papermill') "
        "if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.tflite")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.splitlines()[-1] == "[]"


LAYERS = """
import keras, tensorflow as tf

class Random(keras.Layer):
    def call(self, inputs):
        return inputs + tf.random.normal(tf.shape(inputs))
"""


def test_diagnose_exits_with_1_on_an_error_and_speaks_json(tmp_path, capsys):
    (tmp_path / "layers.py").write_text(LAYERS)
    target = f"{tmp_path}/layers.py:Random"
    code, out, _ = kopt("diagnose", target, "--input-shape", "4", "--json", capsys=capsys)
    severities = [finding["severity"] for finding in json.loads(out)["findings"]]
    assert "error" in severities
    assert code == 1


def test_the_report_stands_alone(tmp_path, capsys):
    workspace = Workspace(tmp_path / "run <1>")
    workspace.claim("signal", "a test")
    leave(workspace, "02_rewrite", "b", {"01_profile": leave(workspace, "01_profile", "a")})
    workspace.release()
    code, out, _ = kopt("report", workspace.path, capsys=capsys)
    page = (workspace.path / "report.html").read_text()
    assert code == 0
    assert str(workspace.path / "report.html") in out
    assert "run &lt;1&gt;" in page
    assert "A quick run" in page
    assert "After 02_rewrite: 10× [8, 12.5]" in page
    body = page.partition("</head>")[2]
    assert "http" not in body.replace("http://www.w3.org", "")
    assert keras.__version__ not in body  # the environment is the record's, not this process's
