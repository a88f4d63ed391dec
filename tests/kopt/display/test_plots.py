"""Figures from tables."""

import pandas as pd

from kopt.display import plots


def test_every_operation_is_a_dot_and_every_tensor_a_line():
    wide = [("Slice", 1, [])] * 9 + [("Pack", 2, list(range(9)))]
    names = ["operation", "depth", "inputs"]
    graphs = {
        "slow": pd.DataFrame(wide, columns=names),
        "fast": pd.DataFrame([("Conv2D", 1, [])], columns=names),
    }
    figure = plots.operations(graphs, "before and after")
    drawn = {"markers": 0, "lines": 0}
    for trace in figure.data:
        drawn[trace.mode] += pd.Series(trace.x).notna().sum()
    assert drawn == {"markers": 11, "lines": 2 * 9}
    titles = [each.text for each in figure.layout.annotations]
    assert titles == ["slow: 10 operations", "fast: 1 operations"]
    assert len({trace.name for trace in figure.data if trace.showlegend}) == 4
