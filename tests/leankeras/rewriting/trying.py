"""Rewriting without a clock: the order in which drafts count as fast is given."""

import keras
import pandas as pd

from leankeras.rewriting.rewriting import rewrite_layer


class Given:
    """A comparison with the figures that a test wants."""

    def __init__(self, ratios):
        ratio = list(ratios.values())
        self.table = pd.DataFrame({"ratio": ratio, "ratio_high": ratio}, index=list(ratios))

    def speedup(self, name):
        return f"{1 / self.table.ratio[name]:.2f}×"


def first_is_fastest(models, sample):
    """The drafts in the order they were made in, all of them faster than the slow layer."""
    return Given({name: 1 - 0.5 / place if place else 1 for place, name in enumerate(models)})


def last_is_fastest(models, sample):
    return Given({name: 1 - 0.01 * place for place, name in enumerate(models)})


def rewritten(layer, input_shape, **options):
    return rewrite_layer(layer, input_shape, measure=first_is_fastest, **options)


def run_source(source, part=""):
    """The layer that printed Python makes, and its port; of one part, if it has several."""
    defined = {}
    exec(compile(source, "printed", "exec"), defined)
    made = [
        value
        for name, value in defined.items()
        if name == f"make{part}"
        or (name.startswith("Fast") and name.endswith(part) and issubclass(value, keras.Layer))
    ]
    return made[0](), defined[f"port{part}"]
