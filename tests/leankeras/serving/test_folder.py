import json
import socket
import sys

import pytest

from leankeras.cli import main
from leankeras.errors import MissingPackageError, ParameterError
from leankeras.serving import Server, Serving, check_extra, folder, write_folder
from leankeras.serving.process import free_ports


def test_the_folder_says_how_the_file_is_served(dense_file, tmp_path):
    serving = Serving(batch_size=8, batch_ms=5, cache=10, workers=2, threads=3, port=9000)
    written = write_folder(dense_file, tmp_path / "a" / "serve", serving, name="small")
    model = json.loads((written / "model-settings.json").read_text())
    server = json.loads((written / "settings.json").read_text())
    assert (written / "model.tflite").read_bytes() == dense_file.read_bytes()
    assert model["parameters"]["extra"] == {"cache": 10, "workers": 2, "threads": 3}
    assert (model["name"], model["max_batch_size"], model["max_batch_time"]) == ("small", 8, 0.005)
    assert (server["host"], server["http_port"], server["metrics_port"]) == (
        "127.0.0.1",
        9000,
        9001,
    )
    assert not server["debug"]


def test_a_second_folder_replaces_the_first(dense_file, fixed_file, tmp_path):
    for file in (dense_file, fixed_file):
        write_folder(file, tmp_path / "serve")
    assert (tmp_path / "serve" / "model.tflite").read_bytes() == fixed_file.read_bytes()


def test_a_folder_that_cannot_be_written_is_named(dense_file, tmp_path):
    (tmp_path / "serve").write_text("a file")
    with pytest.raises(ParameterError, match="serve cannot be written"):
        write_folder(dense_file, tmp_path / "serve")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: saw 0; expected an integer from 1 to 256"),
        ({"batch_size": 257}, "batch_size: saw 257"),
        ({"batch_size": 1.5}, "batch_size: saw 1.5"),
        ({"batch_ms": float("nan")}, "batch_ms: saw nan"),
        ({"cache": -1}, "cache: saw -1"),
        ({"port": 70000}, "ports: saw"),
        ({"port": 8081}, "ports: saw"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        Serving(**options)


def test_only_the_loopback_address_is_private():
    assert not Serving().is_public
    assert Serving(host="0.0.0.0").is_public


def test_a_port_in_use_ends_the_command_with_a_line(dense_file, tmp_path, capsys):
    port, other, _ = free_ports()
    options = ["--port", str(port), "--grpc-port", str(other), "-o", str(tmp_path / "serve")]
    with socket.create_server(("127.0.0.1", port)), pytest.raises(SystemExit) as ended:
        main(["serve", str(dense_file), *options])
    complaint = capsys.readouterr().err
    assert ended.value.code == 2
    assert f"127.0.0.1:{port} cannot be used (Address already in use)" in complaint
    assert len(complaint.splitlines()) == 1
    assert not (tmp_path / "serve").exists()


def test_without_the_extra_the_command_that_installs_it_is_named(dense_file, monkeypatch):
    monkeypatch.setattr(folder, "find_spec", lambda name: None)
    with pytest.raises(
        MissingPackageError, match=r"needs mlserver.* uv sync --extra serve"
    ) as said:
        Server(dense_file)
    assert "\n" not in str(said.value)
    with pytest.raises(MissingPackageError, match="needs locust"):
        check_extra("locust")


def test_asking_for_a_server_loads_none_of_it():
    from leankeras import serving

    assert serving.Serving
    assert not {"mlserver", "fastapi", "locust", "gevent"} & set(sys.modules)
