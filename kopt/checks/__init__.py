"""The checks for the exercises in the notebooks: each tells right from wrong and gives a hint.

Every check takes the answer first, then what this run measured, and returns a :class:`Check`.
None of them raises for a wrong answer, so an unanswered exercise never stops a run.
"""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Check": ".check",
        "batch_wait": ".speed",
        "best_speedup": ".speed",
        "better_settings": ".evidence",
        "error_with_outlier": ".quantization",
        "fastest_within": ".evidence",
        "int8_bytes": ".quantization",
        "int8_values": ".quantization",
        "kept_parameters": ".shrinking",
        "least_memory": ".devices",
        "longest_batch_time": ".serving",
        "model_speedup": ".speed",
        "port": ".porting",
        "products_left": ".merging",
        "repeats_that_pay": ".serving",
        "runtime_part": ".speed",
        "samples_for_half_the_interval": ".evidence",
        "seen_speedup": ".speed",
        "setting_to_ship": ".devices",
        "soft_targets": ".shrinking",
        "time_in_system": ".serving",
        "widest_kernel": "leankeras.kernels",
    },
)
