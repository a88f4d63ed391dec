"""The same ``.tflite`` in NVIDIA Triton, for benchmarks/serving.py.

Run by the Python of another environment, with nvidia-pytriton and ai-edge-litert; it ends with its
standard input. Arguments: the file, and the ports for HTTP, gRPC and metrics.
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

MOST = 32


def main(file: str, http: str, grpc: str, metrics: str) -> None:
    interpreters = {}
    for size in (1, 2, 4, 8, 16, MOST):
        interpreter = interpreters[size] = Interpreter(model_path=file, num_threads=1)
        (given,), (left,) = interpreter.get_input_details(), interpreter.get_output_details()
        takes, gives = (tuple(map(int, each["shape"][1:])) for each in (given, left))
        interpreter.resize_tensor_input(given["index"], [size, *given["shape"][1:]])
        interpreter.allocate_tensors()

    @batch
    def infer(x):
        count = len(x)
        size = min(size for size in interpreters if size >= count)
        filled = np.zeros((size, *x.shape[1:]), x.dtype)
        filled[:count] = x
        interpreters[size].set_tensor(given["index"], filled)
        interpreters[size].invoke()
        return {"output": interpreters[size].get_tensor(left["index"])[:count]}

    ports = {"http_port": int(http), "grpc_port": int(grpc), "metrics_port": int(metrics)}
    with Triton(config=TritonConfig(http_address="127.0.0.1", **ports)) as triton:
        triton.bind(
            "model",
            infer,
            inputs=[Tensor(name="x", dtype=np.float32, shape=takes)],
            outputs=[Tensor(name="output", dtype=np.float32, shape=gives)],
            config=ModelConfig(max_batch_size=MOST, batcher=DynamicBatcher(0)),
        )
        triton.run()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
