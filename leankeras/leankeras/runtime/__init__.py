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
        "compare_files": ".scoreboard",
        "compare_latency": ".latency",
        "compare_operators": ".operators",
        "copying": ".copy_costs",
        "dequantized": ".litert",
        "evaluate": ".artifacts",
        "gain_in_words": ".accuracy",
        "explore": ".fresh_process",
        "graph_size": ".ways_to_call",
        "is_tflite": ".artifacts",
        "is_within": ".flatbuffer",
        "ladder": ".ways_to_call",
        "layer_of": ".flatbuffer",
        "load_keras": ".model_files.opening",
        "pick_fastest": ".latency",
        "profile_layers": ".layers",
        "profile_operators": ".operators",
        "quantized": ".litert",
        "random_sample": ".artifacts",
        "refusal_reason": ".model_files.opening",
        "runtime_settings": ".litert_settings",
        "thread_settings": ".fresh_process",
        "trace_times": ".retracing",
        "xla": ".ways_to_call",
    },
)
