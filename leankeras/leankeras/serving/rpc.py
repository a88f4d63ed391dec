"""The V2 protocol over gRPC, in place of MLServer's own reading and writing; see ``rest``."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from mlserver.errors import MLServerError
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.servicers import InferenceServicer
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput, RequestOutput

from leankeras.serving.admission import admission

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
