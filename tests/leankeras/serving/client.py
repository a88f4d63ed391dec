"""Requests as any client may send them, bytes and all."""

import http.client
import json
from urllib.parse import urlparse

import grpc
import numpy as np


def body(samples, called, **changes):
    """A request for some samples of the file of five inputs."""
    tensor = {
        "name": called,
        "datatype": "FP32",
        "shape": list(samples.shape),
        "data": samples.ravel().tolist(),
    }
    return json.dumps({"inputs": [tensor | changes]}).encode()


def post(url, content, headers=None, method="POST"):
    """Status, headers and body of an answer."""
    place = urlparse(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    try:
        connection.request(method, place.path, content, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def ask(url, content):
    """The first output of a request that must be answered, flat."""
    status, _, answer = post(url, content)
    assert status == 200, answer
    return np.array(json.loads(answer)["outputs"][0]["data"], np.float32)


def call(address, content, method="ModelInfer"):
    """The status code and the message or details of a gRPC call with any bytes."""
    with grpc.insecure_channel(address) as channel:
        ready = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        try:
            return grpc.StatusCode.OK, ready(content, timeout=60)
        except grpc.RpcError as error:
            return error.code(), error.details()
