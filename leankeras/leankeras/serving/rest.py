"""The V2 protocol over HTTP, in place of MLServer's own reading and writing.

MLServer 1.7.1 turns tensors into lists and checks them value by value, answers many malformed
requests with status 500, reads bodies of any size, and lets every caller unload the model.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import mlserver.rest.server
import numpy as np
import orjson
from mlserver.errors import MLServerError
from mlserver.handlers import DataPlane
from mlserver.rest.app import create_app
from mlserver.settings import Settings
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput, RequestOutput
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from leankeras.serving.admission import admission

BODY_SECONDS = 20  # for a client to send a body
ACCEPTED = 100  # connections in a turn of the event loop
INFER = ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")
METHODS = {"GET", "HEAD", "OPTIONS", "POST"}


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
