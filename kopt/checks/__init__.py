"""The checks for the exercises in the notebooks: each tells right from wrong and gives a hint.

Every check takes the answer first, then what this run measured, and returns a :class:`Check`.
None of them raises for a wrong answer, so an unanswered exercise never stops a run.
"""

from kopt.checks.check import Check
from kopt.checks.devices import least_memory, setting_to_ship
from kopt.checks.evidence import better_settings, fastest_within, samples_for_half_the_interval
from kopt.checks.porting import port
from kopt.checks.quantization import error_with_outlier, int8_bytes, int8_values
from kopt.checks.shrinking import kept_parameters, soft_targets, widest_kernel
from kopt.checks.speed import (
    batch_wait,
    best_speedup,
    model_speedup,
    runtime_part,
    seen_speedup,
)

__all__ = [
    "Check",
    "batch_wait",
    "best_speedup",
    "better_settings",
    "error_with_outlier",
    "fastest_within",
    "int8_bytes",
    "int8_values",
    "kept_parameters",
    "least_memory",
    "model_speedup",
    "port",
    "runtime_part",
    "samples_for_half_the_interval",
    "seen_speedup",
    "setting_to_ship",
    "soft_targets",
    "widest_kernel",
]
