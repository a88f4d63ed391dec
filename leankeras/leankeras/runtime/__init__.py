"""Artifacts: opened, run, timed and scored, whole or by layer and operator."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "CASTS": ".flatbuffer",
        "IDENTIFIER": ".flatbuffer",
        "LiteRTModel": ".litert",
        "TFLiteFile": ".flatbuffer",
        "batch_sizes": ".batching",
        "compare_accuracy": ".accuracy",
        "compare_latency": ".latency",
        "compare_operators": ".operators",
        "copying": ".copy_costs",
        "dequantized": ".litert",
        "evaluate": ".artifacts",
        "explore": ".fresh_process",
        "graph_size": ".ways_to_call",
        "identifier": ".flatbuffer",
        "is_tflite": ".artifacts",
        "is_within": ".flatbuffer",
        "ladder": ".ways_to_call",
        "layer_of": ".flatbuffer",
        "load_keras": ".archive",
        "pick_fastest": ".latency",
        "profile_layers": ".layers",
        "profile_operators": ".operators",
        "quantized": ".litert",
        "random_sample": ".artifacts",
        "refusal_reason": ".archive",
        "runtime_settings": ".litert_settings",
        "thread_settings": ".fresh_process",
        "trace_times": ".retracing",
        "xla": ".ways_to_call",
    },
)
