"""The passes in their order."""

from collections.abc import Sequence

from leankeras.rewriting import finishing
from leankeras.rewriting.building import Graph
from leankeras.rewriting.collectors import merge_collectors
from leankeras.rewriting.contraction import contract
from leankeras.rewriting.node import Node, cost
from leankeras.rewriting.passes import Journal, Layout, Rebuild
from leankeras.rewriting.siblings import merge_siblings, merge_steps, reassociate, split_products

MOST_ROUNDS = 4
MOST_STEPS = 12
SINKINGS = 6


def optimize(graph: Graph, outputs: Sequence[Node], layout: Layout, journal: Journal) -> list[Node]:
    """Merge what can be merged, until nothing gets cheaper by it.

    Raises:
        RewriteError: a rule is wrong.
    """

    def rebuild() -> Rebuild:
        return Rebuild(graph, layout, journal, outputs)

    outputs = list(outputs)
    for _ in range(MOST_ROUNDS):
        before = cost(outputs, graph.batch)
        outputs = merge_collectors(rebuild())
        outputs = contract(rebuild())
        outputs = split_products(rebuild())
        outputs = merge_siblings(rebuild(), outputs)
        outputs = reassociate(rebuild())
        for _ in range(MOST_STEPS):
            merged = merge_steps(rebuild(), outputs)
            if merged == outputs:
                break
            outputs = merged
        outputs = merge_collectors(rebuild())
        outputs = contract(rebuild())
        if cost(outputs, graph.batch) >= before - 0.5:
            break
    outputs = finishing.find_pools(rebuild())
    outputs = finishing.flatten_products(rebuild())
    graph.settled = True
    try:
        for _ in range(SINKINGS):
            outputs = finishing.sink_reshapes(rebuild())
        outputs = finishing.name_parts(rebuild())
        return finishing.split_once(rebuild())
    finally:
        graph.settled = False
