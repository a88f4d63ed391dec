"""One self-contained HTML page about one or several runs; it opens offline and can be mailed."""

import html
from itertools import product
from pathlib import Path
from string import Template

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from kopt.display.plots import layer_shares, pareto
from kopt.errors import WorkspaceError
from kopt.workspace.directory import Workspace
from kopt.workspace.record import Record, summary, table_in_words, verdict
from leankeras.files import write_text

QUICK = (
    "A quick run, with a quarter of the samples and two epochs. It shows that the chain works; its "
    "scores mean nothing."
)
TABLES = {
    "devices": (["device"], "On devices that are not here"),
    "servings": (["file", "serving"], "Behind a server, 32 callers"),
}
PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>kopt: $title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1d2329; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .25rem .7rem;
       text-align: right; border-bottom: 1px solid #d5dae0 } th:first-child { text-align: left }
.warning { background: #fff3d6; padding: .6rem 1rem; border-left: 4px solid #d9822b }
</style><script>$plotly</script></head><body>
<h1>$title</h1>
$body
</body></html>
""")


def write_report(workspaces: list[Workspace], path: Path) -> Path:
    """Draw the report of one or several run directories.

    Args:
        workspaces: the runs; each needs at least one finished stage.
        path: the ``.html`` to write.

    Raises:
        WorkspaceError: a run has no finished stage, or the path cannot be written.
    """
    runs = {str(workspace.path): workspace.records() for workspace in workspaces}
    for name, records in runs.items():
        if not records:
            there = "has no finished stage" if Path(name).is_dir() else "is not a run directory"
            raise WorkspaceError(f"{name} {there}; run kopt run first")
    sections = [section for workspace in workspaces for section in _run(workspace)]
    cases = ", ".join(sorted({records[0].case for records in runs.values()}))
    return write_page(f"{cases}: from slow to deployed", sections, path)


def write_page(title: str, sections: list[str], path: Path) -> Path:
    """Write a page that depends on no other file.

    Args:
        title: plain text.
        sections: parts of the body, as HTML.
        path: the ``.html`` to write.
    """
    page = PAGE.substitute(
        title=html.escape(title), plotly=get_plotlyjs(), body="\n".join(sections)
    )
    write_text(path, page, WorkspaceError)
    return path


def figure_html(figure: go.Figure) -> str:
    """A figure for use in such a page."""
    return figure.to_html(full_html=False, include_plotlyjs=False)


def _run(workspace: Workspace) -> list[str]:
    records = workspace.records()
    chain, last = summary(records), records[-1]
    facts = {**last.environment, "latency": last.conditions}
    shares = {
        record.stage: record.table("layer_shares")
        for record in records
        if "layer_shares" in record.tables
    }
    return [
        f"<h2>{html.escape(str(workspace.path))}</h2>",
        *_warnings(workspace, records),
        f"<p>{html.escape(verdict(records))}</p>",
        table_in_words(records).to_html(border=0, index_names=False),
        f"<p>The task is {html.escape(last.task)}, on the test part. Sizes are in kB of "
        "1000 bytes. Latency is that of one undisturbed inference in LiteRT on one thread. What is "
        "lost and times faster compare "
        "with the slow model in the same runtime, on the same samples and in the same blocks of "
        "time, with 95 % intervals.</p>",
        figure_html(pareto(chain, records[0].merit, "What each stage cost and gained")),
        *([figure_html(layer_shares(shares, "Where the time goes, by layer"))] if shares else []),
        *map(_source, sorted(workspace.models.glob("*.py"))),
        *_tables(records),
        "<h3>Measured on</h3>",
        pd.Series(facts).to_frame().to_html(header=False, border=0),
    ]


def _tables(records: list[Record]) -> list[str]:
    shown = []
    for record, (name, (labels, title)) in product(records, TABLES.items()):
        if record.tables.get(name):
            table = record.table(name).set_index(labels).round(2)
            page = table.where(table.notna(), "–").to_html(border=0)
            shown += [f"<h3>{title}</h3>", page]
    return shown


def _warnings(workspace: Workspace, records: list[Record]) -> list[str]:
    reasons = [record.crash for record in records if record.crash]
    reasons += [reason for record in records if (reason := workspace.stale_because(record.stage))]
    if records[0].parameters["quick"]:
        reasons.insert(0, QUICK)
    return [f'<p class="warning">{html.escape(reason)}</p>' for reason in reasons]


def _source(path: Path) -> str:
    code = html.escape(path.read_text(encoding="utf-8"))
    name = html.escape(str(path))
    return f"<details><summary>The new layer: {name}</summary><pre>{code}</pre></details>"
