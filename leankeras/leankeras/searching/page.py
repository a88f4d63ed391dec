"""What a page about a search shows, as parts of its body."""

import html

import pandas as pd

from leankeras.searching.figures import figures
from leankeras.searching.outcome import Search, finalists_in_words
from leankeras.searching.study import Trials

FINALISTS = (
    "Trials are judged on the validation part. The finalists were then measured on the test part, "
    "once, side by side: what is lost and times faster compare with the slow model and with the "
    "default chain on the same samples and in the same blocks of time, with 95 % intervals. Sizes "
    "are in kB of 1000 bytes; latency is that of one undisturbed inference in LiteRT on one thread."
)
SIEVES = (
    "Each candidate passes the sieves in this order, the cheapest first. Latencies were measured "
    "with nothing else running; they do not depend on the weights."
)


def page_sections(found: Search, trials: Trials, conditions: str) -> list[str]:
    """The winner, the finalists, the sieves, Optuna's figures, and all trials, as HTML.

    Args:
        found: the result.
        trials: the trials it comes from.
        conditions: what the final latencies were measured under.
    """
    drawn = [
        part
        for title, figure in figures(trials).items()
        for part in (
            f"<h2>{html.escape(title)}</h2>",
            figure.to_html(full_html=False, include_plotlyjs=False),
        )
    ]
    return [
        f"<p>{html.escape(found.verdict)}</p>",
        *(f'<p class="warning">{html.escape(note)}</p>' for note in found.notes),
        "<h2>The winner</h2>",
        f"<p>Trial {found.best.name}: {html.escape(str(found.chain))}.</p>",
        f"<pre>{html.escape(found.command)}</pre>",
        "<h2>The finalists</h2>",
        f"<p>{FINALISTS}</p>",
        _as_html(finalists_in_words(found.front, found.goal)),
        f"<p>{html.escape(conditions)}</p>",
        "<h2>The sieves</h2>",
        f"<p>{SIEVES}</p>",
        _as_html(found.sieves),
        *drawn,
        "<h2>All trials</h2>",
        _as_html(found.table),
    ]


def _as_html(table: pd.DataFrame) -> str:
    """A table with its text in full; it scrolls if the page is too narrow."""
    with pd.option_context("display.max_colwidth", None):
        space = {"chain": "24em"} if "chain" in table else None
        text = table.to_html(float_format="{:,.4g}".format, border=0, na_rep="", col_space=space)
    return f'<div style="overflow-x: auto">{text}</div>'
