"""Requests and answers of the V2 protocol as HTTP and gRPC carry them, in place of MLServer's own.

MLServer 1.7.1 turns tensors into lists and checks them value by value, answers many malformed
requests with status 500, reads bodies of any size, and lets every caller unload the model. What is
here reads a request into arrays, refuses what is wrong in a line, and leaves the rest (readiness,
metadata, metrics, starting and stopping) to MLServer.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import mlserver.grpc.server
import mlserver.rest.server
import mlserver.server
import numpy as np
import orjson
from google.protobuf.message import DecodeError
from mlserver.errors import MLServerError
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.servicers import InferenceServicer
from mlserver.handlers import DataPlane
from mlserver.repository import SchemalessModelRepository
from mlserver.rest.app import create_app
from mlserver.settings import Settings
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput, RequestOutput
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

IN_FLIGHT = 256  # requests at a time; more are refused before they are read
BEAT, LATE = 0.05, 0.5  # seconds between two turns of the event loop: as it should be, at most
BODY_SECONDS = 20  # for a client to send a body
ACCEPTED = 100  # connections in a turn of the event loop
INFER = ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")
METHODS = {"GET", "HEAD", "OPTIONS", "POST"}
STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    503: grpc.StatusCode.UNAVAILABLE,
}
CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "UINT64": "uint64_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


class Repository(SchemalessModelRepository):
    """MLServer's repository, which it imports before it builds its servers.

    ``settings.json`` names it, so that a plain ``mlserver start`` uses what is in this module.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        mlserver.server.RESTServer = FairServer
        mlserver.rest.server.create_app = strict_app
        mlserver.grpc.server.InferenceServicer = StrictServicer
        mlserver.grpc.server.add_GRPCInferenceServiceServicer_to_server = add_strict_handlers
        mlserver.grpc.server.add_ModelRepositoryServiceServicer_to_server = lambda *_: None


class Admission:
    """Who may come in. What waits in the batcher is not all: a server that spends its time on HTTP
    itself has its queue in sockets, and only sees that its event loop comes round too rarely.
    """

    def __init__(self) -> None:
        self._in_flight = 0
        self._beat: float | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Count a request for as long as it is being answered.

        Raises:
            MLServerError: with status 503, if there are too many, or they are too late.
        """
        loop = asyncio.get_running_loop()
        if self._beat is None:
            self._note_beat(loop)
        if self._in_flight >= IN_FLIGHT:
            raise MLServerError(f"{IN_FLIGHT} requests are being answered; try again later", 503)
        if loop.time() - self._beat > LATE:
            raise MLServerError(f"requests are {LATE:g} s late; try again later", 503)
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def _note_beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beat = loop.time()
        loop.call_later(BEAT, self._note_beat, loop)


admission = Admission()


# HTTP


class FairServer(mlserver.rest.server.RESTServer):
    """MLServer's HTTP server, which lets new callers in while it is busy with the old ones.

    Its event loop accepts one connection a turn for each socket that it listens at (libuv 1.45),
    and a turn takes long when there is much to do: some callers would wait for ever. Here it
    listens at several copies of the same socket.
    """

    async def start(self) -> None:
        """Serve until :meth:`stop`."""
        config = self._get_config()
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        with socket.create_server(
            (config.host, config.port), family=family, backlog=config.backlog
        ) as listening:
            copies = [listening.dup() for _ in range(ACCEPTED)]
        self._server = mlserver.rest.server._NoSignalServer(config)
        await self._server.serve(sockets=copies)


def strict_app(settings: Settings, data_plane: DataPlane, *handlers: Any, **more: Any) -> Any:
    """MLServer's application with an endpoint of ours, and without what nobody may call."""
    app = create_app(settings, data_plane, *handlers, **more)
    app.router.routes[:] = [
        Route(path, _infer_endpoint(data_plane, settings.grpc_max_message_length), methods=["POST"])
        for path in INFER
    ] + [route for route in app.router.routes if "POST" not in getattr(route, "methods", ())]
    app.add_middleware(KnownMethods)
    return app


class KnownMethods:
    """Refuses invented HTTP methods, each of which would become a metric of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        if scope["type"] == "http" and scope["method"] not in METHODS:
            await _refusal("no such method", 405)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _infer_endpoint(data_plane: DataPlane, limit: int) -> Callable[[Request], Awaitable[Response]]:
    async def infer(request: Request) -> Response:
        name, version = (request.path_params.get(key) for key in ("name", "version"))
        try:
            await data_plane.model_ready(name, version)  # an unknown name must not become a metric
            with admission():
                payload = _from_json(await _body(request, limit))
                answer = await data_plane.infer(payload, name, version)
        except MLServerError as error:
            return _refusal(str(error), error.status_code)
        except ClientDisconnect:
            return _refusal("the client has gone", 400)
        return Response(_to_json(answer), media_type="application/json")

    return infer


def _refusal(text: str, status: int) -> Response:
    headers = {"Retry-After": "1"} if status == 503 else None
    content = orjson.dumps({"error": text})
    return Response(content, status, headers, media_type="application/json")


async def _body(request: Request, limit: int) -> bytes:
    headers = request.headers
    if headers.get("content-encoding", "identity") != "identity":
        raise MLServerError("the body is compressed; expected it as it is", 415)
    if "inference-header-content-length" in headers:
        raise MLServerError("binary tensors in HTTP; expected JSON, or gRPC for binary ones", 415)
    too_large = MLServerError(f"the body is too large; expected at most {limit:,} bytes", 413)
    if int(headers.get("content-length", "0")) > limit:  # its digits have been checked by h11
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise MLServerError(f"no whole body within {BODY_SECONDS} s", 408) from None
    return bytes(body)


def _from_json(body: bytes) -> InferenceRequest:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MLServerError(f"the body is not JSON: {error!s:.100}") from error
    if not isinstance(content, dict) or not isinstance(content.get("inputs"), list):
        raise MLServerError('the body has no list of inputs; expected {"inputs": [...]}')
    outputs = content.get("outputs") or []
    if not isinstance(outputs, list):
        raise MLServerError("outputs is not a list")
    if not all(isinstance(each, dict) for each in (*content["inputs"], *outputs)):
        raise MLServerError("an input or output is not an object")
    if not all(isinstance(each.get("name"), str) for each in (*content["inputs"], *outputs)):
        raise MLServerError("an input or output has no name")
    identity = content.get("id")
    if identity is not None and not isinstance(identity, str):
        raise MLServerError("id is not a string")
    return InferenceRequest.model_construct(
        id=identity,
        inputs=[
            RequestInput.model_construct(
                name=each["name"],
                datatype=each.get("datatype"),
                shape=each.get("shape"),
                data=each.get("data"),
            )
            for each in content["inputs"]
        ],
        outputs=[RequestOutput.model_construct(name=each["name"]) for each in outputs],
    )


def _to_json(answer: InferenceResponse) -> bytes:
    outputs = [
        {
            "name": each.name,
            "shape": each.shape,
            "datatype": each.datatype,
            "data": np.ascontiguousarray(each.data).reshape(-1),
        }
        for each in answer.outputs
    ]
    content = {"model_name": answer.model_name, "id": answer.id, "outputs": outputs}
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


# gRPC


class StrictServicer(InferenceServicer):
    """MLServer's gRPC methods, with one of ours for inference."""

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> Any:
        """Answer a request; binary tensors are answered by binary tensors."""
        name, version = request.model_name, request.model_version or None
        await self._data_plane.model_ready(name, version)
        with admission():
            answer = await self._data_plane.infer(_from_message(request), name, version)
        return _to_message(answer, bool(request.raw_input_contents))


def add_strict_handlers(servicer: StrictServicer, server: grpc.aio.Server) -> None:
    """Register the methods so that no malformed message becomes an internal error."""
    requests = {
        "ServerLive": pb.ServerLiveRequest,
        "ServerReady": pb.ServerReadyRequest,
        "ServerMetadata": pb.ServerMetadataRequest,
        "ModelReady": pb.ModelReadyRequest,
        "ModelMetadata": pb.ModelMetadataRequest,
        "ModelInfer": pb.ModelInferRequest,
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _strict(getattr(servicer, name), message.FromString),
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        for name, message in requests.items()
    }
    service = "inference.GRPCInferenceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


def _strict(
    method: Callable[[Any, Any], Awaitable[Any]], parse: Callable[[bytes], Any]
) -> Callable[[bytes, Any], Awaitable[Any]]:
    async def answer(content: bytes, context: Any) -> Any:
        try:
            return await method(parse(content), context)
        except DecodeError:
            await context.abort(STATUS[400], "the message is not of the V2 protocol")
        except MLServerError as error:
            code = STATUS.get(error.status_code, grpc.StatusCode.UNKNOWN)
            await context.abort(code, str(error))

    return answer


def _from_message(request: pb.ModelInferRequest) -> InferenceRequest:
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise MLServerError(f"{len(raw)} binary tensors for {len(request.inputs)} inputs")
    return InferenceRequest.model_construct(
        id=request.id or None,
        inputs=[
            RequestInput.model_construct(
                name=each.name,
                datatype=each.datatype,
                shape=list(each.shape),
                data=raw[k] if raw else _values(each),
            )
            for k, each in enumerate(request.inputs)
        ],
        outputs=[RequestOutput.model_construct(name=each.name) for each in request.outputs],
    )


def _values(tensor: pb.ModelInferRequest.InferInputTensor) -> list:
    return list(getattr(tensor.contents, CONTENTS.get(tensor.datatype, ""), []))


def _to_message(answer: InferenceResponse, raw: bool) -> pb.ModelInferResponse:
    message = pb.ModelInferResponse(model_name=answer.model_name, id=answer.id)
    for each in answer.outputs:
        output = message.outputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
        if raw or each.datatype not in CONTENTS:
            little = each.data.astype(each.data.dtype.newbyteorder("<"), copy=False)
            message.raw_output_contents.append(little.tobytes())
        else:
            getattr(output.contents, CONTENTS[each.datatype]).extend(each.data.ravel().tolist())
    return message
