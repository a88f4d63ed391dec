"""A real server in a process of its own: right answers, and a line for everything else."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import grpc
import numpy as np
import psutil
import pytest

from leankeras.child import package_environment
from leankeras.errors import ModelError
from leankeras.serving import Server, Serving, ask_all, write_folder
from leankeras.serving.process import is_ready
from tests.leankeras.serving.client import ask, body, call, post

PATIENT = 120  # seconds; a loaded machine may take long


def wait_until(condition):
    deadline = time.monotonic() + PATIENT
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def name(batching_server):
    return batching_server.engine.inputs[0].name


@pytest.fixture(scope="module", params=["batches", "one by one", "cache and workers"])
def any_server(request, batching_server, dense_file):
    servings = {
        "one by one": Serving(batch_size=1),
        "cache and workers": Serving(batch_size=4, cache=100, workers=2),
    }
    if request.param == "batches":
        yield batching_server
    else:
        with Server(dense_file, servings[request.param]) as server:
            yield server


def test_answers_by_http_are_the_files_own_to_the_last_bit(
    any_server, name, dense_samples, dense_answers
):
    rows = [dense_samples[k : k + 1] for k in range(48)] + [dense_samples[:20], dense_samples]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda row: ask(any_server.at.url, body(row, name)), rows))
    expected = [dense_answers[k : k + 1] for k in range(48)] + [dense_answers[:20], dense_answers]
    for given, wanted in zip(answers, expected, strict=True):
        assert given.tobytes() == wanted.tobytes()


def test_answers_by_grpc_are_the_files_own_to_the_last_bit(
    any_server, dense_samples, dense_answers
):
    for at_once in (1, 16):
        (given,) = asyncio.run(ask_all(any_server, dense_samples[:48], at_once)).values()
        assert given.tobytes() == dense_answers[:48].tobytes()


def test_a_saved_model_and_two_inputs_are_served(fixed_file):
    random = np.random.default_rng(0)
    with Server(fixed_file) as server:
        shapes = {each.name: each.shape for each in server.engine.inputs}
        batch = {n: random.standard_normal((9, *s)).astype("f4") for n, s in shapes.items()}
        given = asyncio.run(ask_all(server, batch, 9))
        for output, values in server.engine(batch).items():
            assert given[output].tobytes() == values.tobytes()


def changed(**changes):
    return lambda samples, name: body(samples[:1], name, **changes)


HTTP = {
    "nothing": lambda *_: b"",
    "no JSON": lambda *_: b"{",
    "no object": lambda *_: b"[]",
    "no inputs": lambda *_: b"{}",
    "inputs of words": lambda *_: b'{"inputs": ["x"]}',
    "nested": lambda *_: b"[" * 5000,
    "no UTF-8": lambda *_: b"\xff\xfe" * 20,
    "garbage": lambda *_: np.random.default_rng(0).bytes(2000),
    "NaN": lambda *_: b'{"inputs": [{"name": "x", "data": [NaN]}]}',
    "infinite": lambda s, name: body(s[:1], name).replace(b'"data": [', b'"data": [1e999,'),
    "cut off": lambda s, name: body(s[:1], name)[:-9],
    "shape": changed(shape=[1, 4]),
    "negative shape": changed(shape=[-1, 5]),
    "type": changed(datatype="INT8"),
    "unknown type": changed(datatype="STRING"),
    "name": changed(name="other"),
    "no name": changed(name=None),
    "null": changed(data=[None] * 5),
    "words": changed(data=["a"] * 5),
    "too few": changed(data=[1, 2]),
    "id": lambda s, name: body(s[:1], name)[:-1] + b', "id": 5}',
    "outputs": lambda s, name: body(s[:1], name)[:-1] + b', "outputs": [{"name": "none"}]}',
    "outputs of words": lambda s, name: body(s[:1], name)[:-1] + b', "outputs": "none"}',
    "far too large": lambda *_: b" " * 100_000_000,
}


def is_a_line(content):
    said = json.loads(content)["error"]
    return 5 < len(said) < 300 and "\n" not in said and "Traceback" not in said


@pytest.mark.parametrize("wrong", HTTP)
def test_a_malformed_http_request_gets_a_4xx_and_a_line(
    batching_server, name, wrong, dense_samples
):
    status, _, content = post(batching_server.at.url, HTTP[wrong](dense_samples, name))
    assert status == (413 if wrong == "far too large" else 400)
    assert is_a_line(content)


@pytest.mark.parametrize(
    ("headers", "method", "path", "expected"),
    [
        ({"Content-Encoding": "gzip"}, "POST", None, 415),
        ({"Inference-Header-Content-Length": "x"}, "POST", None, 415),
        ({"Content-Type": "text/\xe4\xff"}, "POST", None, 200),
        ({}, "GET", None, 405),
        ({}, "DELETE", None, 405),
        ({}, "BREW", None, 400),
        ({}, "POST", "/v2/models/other/infer", 404),
        ({}, "POST", "/v2/models/model/versions/7/infer", 404),
        ({}, "POST", "/v2/models/model/infer_stream", 404),
        ({}, "POST", "/v2/repository/models/model/unload", 404),
        ({}, "POST", "/nowhere", 404),
    ],
)
def test_what_is_not_offered_is_refused(
    batching_server, name, headers, method, path, expected, dense_samples
):
    url = batching_server.at.url
    url = url.replace("/v2/models/model/infer", path) if path else url
    status, _, _ = post(url, body(dense_samples[:1], name), headers, method)
    assert status == expected


HEAD = b"POST /v2/models/model/infer HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01garbage\r\n\r\n",
        HEAD + b"Content-Length: many\r\n\r\n",
        HEAD + b"Content-Length: -5\r\n\r\n",
        HEAD + b"\xff\xfe: \x01\r\n\r\n",
        HEAD + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_garbage_in_the_header_gets_a_4xx(batching_server, content):
    port = batching_server.serving.port
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(content)
        assert re.match(rb"HTTP/1.1 4\d\d ", connection.recv(1000))


def test_a_client_that_leaves_in_the_middle_of_a_body_harms_nobody(
    batching_server, name, dense_samples, dense_answers
):
    content = body(dense_samples[:1], name)
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(content)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", batching_server.serving.port)) as connection:
            connection.sendall(head + content[:30])
    assert ask(batching_server.at.url, content).tobytes() == dense_answers[:1].tobytes()


@pytest.fixture(scope="module")
def message(name):
    """Makes gRPC requests, good ones unless told otherwise."""
    from tritonclient.grpc import service_pb2 as pb

    def make(data=b"\x00" * 20, **changes):
        tensor = {"name": name, "datatype": "FP32", "shape": [1, 5]} | changes
        contents = {"raw_input_contents": [data] if isinstance(data, bytes) else data}
        return pb.ModelInferRequest(model_name="model", inputs=[tensor], **contents)

    return make


GRPC = {
    "garbage": lambda message: b"\xff" * 50,
    "cut off": lambda message: message().SerializeToString()[:-3],
    "nothing": lambda message: message([]).SerializeToString(),
    "shape": lambda message: message(shape=[1, 4]).SerializeToString(),
    "negative shape": lambda message: message(shape=[-1, 5]).SerializeToString(),
    "type": lambda message: message(datatype="INT8").SerializeToString(),
    "unknown type": lambda message: message(datatype="FLOAT").SerializeToString(),
    "name": lambda message: message(name="other").SerializeToString(),
    "NaN": lambda message: message(np.full(5, np.nan, "f4").tobytes()).SerializeToString(),
    "infinite": lambda message: message(np.full(5, np.inf, "f4").tobytes()).SerializeToString(),
    "too few": lambda message: message(b"\x00" * 7).SerializeToString(),
    "two for one": lambda message: message([b"\x00" * 20] * 2).SerializeToString(),
    "other contents": lambda message: message(
        [], contents={"int_contents": [1, 2, 3, 4, 5]}
    ).SerializeToString(),
}


@pytest.mark.parametrize("wrong", GRPC)
def test_a_malformed_grpc_message_is_an_invalid_argument(batching_server, message, wrong):
    code, said = call(batching_server.at.grpc, GRPC[wrong](message))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert 5 < len(said) < 300


def test_the_other_grpc_methods_answer_or_refuse(batching_server, message):
    at = batching_server.at.grpc
    assert call(at, message().SerializeToString())[0] == grpc.StatusCode.OK
    assert call(at, b"", "ServerLive")[0] == grpc.StatusCode.OK
    assert call(at, b"\xff" * 9, "ServerLive")[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert call(at, b"", "ModelReady")[0] == grpc.StatusCode.NOT_FOUND
    assert call(at, b"", "RepositoryModelUnload")[0] == grpc.StatusCode.UNIMPLEMENTED
    large = message(b"\x00" * 9_000_000).SerializeToString()
    assert call(at, large)[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    other = message()
    other.model_name = "other"
    assert call(at, other.SerializeToString())[0] == grpc.StatusCode.NOT_FOUND


def test_malformed_requests_beside_good_ones_change_nothing(
    batching_server, name, dense_samples, dense_answers
):
    wrong = [make(dense_samples, name) for kind, make in HTTP.items() if kind != "far too large"]
    good = [body(dense_samples[k : k + 1], name) for k in range(60)]
    with ThreadPoolExecutor(16) as pool:
        refused = [pool.submit(post, batching_server.at.url, each) for each in 5 * wrong]
        answers = list(pool.map(lambda content: ask(batching_server.at.url, content), good))
    assert {each.result()[0] for each in refused} == {400}
    assert np.concatenate(answers).tobytes() == dense_answers[:60].tobytes()
    assert batching_server.process.poll() is None


def test_metrics_are_there_and_do_not_grow_with_what_clients_invent(batching_server):
    for k in range(20):
        post(batching_server.at.url.replace("model/infer", f"m{k}/infer"), b"{}")
        post(batching_server.at.url, b"", method=f"BREW{k}")
    with urlopen(batching_server.at.metrics) as answer:
        metrics = answer.read().decode()
    assert 'model_infer_request_success_total{model="model"' in metrics
    assert "m7" not in metrics
    assert "BREW" not in metrics


def test_tensorflow_is_not_in_the_server_of_a_tflite(batching_server):
    maps = Path(f"/proc/{batching_server.process.pid}/maps")
    assert "libtensorflow" not in maps.read_text()


@pytest.fixture(scope="module")
def heavy(name, dense_samples):
    """A request that keeps a server without batches busy for some milliseconds."""
    return body(dense_samples, name)


def test_more_than_it_can_take_is_refused_and_then_all_is_as_before(
    dense_file, heavy, dense_answers
):
    with Server(dense_file, Serving(batch_size=1)) as server:
        answers = asyncio.run(flood(server.serving.port, heavy, 900))
        statuses = [status for status, _ in answers]
        assert set(statuses) == {200, 503}
        for status, content in answers:
            if status == 503:
                assert is_a_line(content)
        assert ask(server.at.url, heavy).tobytes() == dense_answers.tobytes()
        assert server.process.poll() is None


async def flood(port, content, count):
    """Status and body of requests that are all sent before any answer is read."""
    head = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(content)

    async def send():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + content)
        received = await reader.read()
        writer.close()
        return int(received.split()[1]), received.partition(b"\r\n\r\n")[2]

    return await asyncio.gather(*(send() for _ in range(count)))


def in_progress(server):
    with urlopen(server.at.metrics) as answer:
        found = re.search(r'in_progress\{.*method="POST".*\} (\d+)', answer.read().decode())
    return int(found[1]) if found else 0


def test_at_sigterm_what_has_begun_is_answered(dense_file, heavy, dense_answers):
    with Server(dense_file, Serving(batch_size=1)) as server, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, server.at.url, heavy) for _ in range(8)]
        wait_until(lambda: in_progress(server) + sum(each.done() for each in asked) >= 8)
        server.process.send_signal(signal.SIGTERM)
        for each in asked:
            assert each.result().tobytes() == dense_answers.tobytes()
        assert server.process.wait(PATIENT) == 0


def test_a_server_ends_with_the_process_that_started_it(dense_file):
    code = (
        "import os, sys\n"
        "from leankeras.serving import Server\n"
        "server = Server(sys.argv[1]).__enter__()\n"
        "print(server.process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, dense_file],
        capture_output=True,
        text=True,
        env=package_environment(),
    )
    wait_until(lambda: not psutil.pid_exists(int(killed.stdout)))


def workers_of(server):
    children = psutil.Process(server.process.pid).children()
    return [each for each in children if "leankeras.serving.worker" in each.cmdline()]


def test_a_killed_worker_is_replaced_and_only_what_it_ran_is_lost(dense_file, heavy, dense_answers):
    with Server(dense_file, Serving(batch_size=1, workers=2)) as server:
        first = workers_of(server)
        assert len(first) == 2
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(post, server.at.url, heavy) for _ in range(120)]
            wait_until(lambda: sum(each.done() for each in asked) > 10)
            first[0].kill()
            answers = [each.result() for each in asked]
        lost = [content for status, _, content in answers if status != 200]
        assert len(lost) <= 1
        assert all(b"killed by signal 9 (SIGKILL); send it again" in each for each in lost)
        wait_until(lambda: len(workers_of(server)) == 2)
        assert workers_of(server) != first
        for _ in range(4):
            assert ask(server.at.url, heavy).tobytes() == dense_answers.tobytes()


def test_the_folder_starts_with_mlserver_alone(dense_file, name, tmp_path, dense_samples):
    with Server(dense_file) as server:
        serving, at = server.serving, server.at
    folder = write_folder(dense_file, tmp_path / "serve", serving)
    assert {path.name for path in folder.iterdir()} == {
        "model.tflite", "model-settings.json", "settings.json",
    }  # fmt: skip
    command = Path(sys.executable).parent / "mlserver"
    with subprocess.Popen(
        [command, "start", folder], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
        env=package_environment(), cwd=tmp_path,
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: is_ready(at))
            assert ask(at.url, body(dense_samples[:1], name)).shape == (3,)
        finally:
            process.terminate()


def test_a_file_that_cannot_be_served_starts_nothing(tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"not a \.tflite"):
        Server(tmp_path / "a.tflite")
