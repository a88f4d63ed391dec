"""Live figures for notebooks: controls, a figure that follows them, and measurement on demand.

A panel receives plain tables and functions that measure; it imports neither the workspace nor
TensorFlow. If nobody is there to use its controls, it is a figure like any other.
"""

from kopt.display.panels.latency import LatencyPanel
from kopt.display.panels.pareto import ParetoPanel
from kopt.display.panels.tradeoff import TradeoffPanel

__all__ = ["LatencyPanel", "ParetoPanel", "TradeoffPanel"]
