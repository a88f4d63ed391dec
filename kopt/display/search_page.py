"""The page of a search: the winner and how it was found."""

import html
from pathlib import Path
from typing import Any

import pandas as pd

from kopt.display.report import figure_html, write_page
from leankeras.searching import Search, finalists_in_words

HOW = (
    "Trials are judged on the validation part. The finalists were then measured on the test part, "
    "once, side by side: what is lost and times faster compare with the slow model and with the "
    "default chain on the same samples and in the same blocks of time, with 95 % intervals. Sizes "
    "are in kB of 1000 bytes; latency is that of one undisturbed inference in LiteRT on one thread."
)
SIEVES = (
    "Each candidate passes the sieves in this order, the cheapest first. Latencies were measured "
    "with nothing else running; they do not depend on the weights."
)


def write_search_page(found: Search, figures: dict[str, Any], conditions: str, path: Path) -> Path:
    """Draw the page of a search.

    Args:
        found: the result.
        figures: plotly figures by title.
        conditions: what the final latencies were measured under.
        path: the ``.html`` to write.

    Raises:
        WorkspaceError: the path cannot be written.
    """
    sections = [
        f"<p>{html.escape(found.verdict)}</p>",
        *(f'<p class="warning">{html.escape(note)}</p>' for note in found.notes),
        "<h2>The winner</h2>",
        f"<p>Trial {found.best.name}: {html.escape(str(found.chain))}.</p>",
        f"<pre>{html.escape(found.command)}</pre>",
        "<h2>The finalists</h2>",
        f"<p>{HOW}</p>",
        _as_html(finalists_in_words(found.front, found.goal)),
        f"<p>{html.escape(conditions)}</p>",
        "<h2>The sieves</h2>",
        f"<p>{SIEVES}</p>",
        _as_html(found.sieves),
        *(
            part
            for title, figure in figures.items()
            for part in (f"<h2>{html.escape(title)}</h2>", figure_html(figure))
        ),
        "<h2>All trials</h2>",
        _as_html(found.table),
    ]
    return write_page(f"Search: the {found.goal.name} within {found.goal.budget}", sections, path)


def _as_html(table: pd.DataFrame) -> str:
    """A table with its text in full; it scrolls if the page is too narrow."""
    with pd.option_context("display.max_colwidth", None):
        text = table.to_html(float_format="{:,.4g}".format, border=0, na_rep="")
    return f'<div style="overflow-x: auto">{text}</div>'
