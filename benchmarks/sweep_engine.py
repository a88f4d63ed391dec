"""The cost of the sweep engine alone: points whose task returns immediately.

    uv run python benchmarks/sweep_engine.py 1000

Runs them on two workers, prints time and memory for every hundred points, and draws
docs/sweep-engine.png (needs Chromium).
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread

import pandas as pd
import psutil
from plotly.subplots import make_subplots

from kopt.display.plots import COLORS
from kopt.execution.cluster import open_cluster
from kopt.execution.engine import run_tree
from kopt.execution.grid import Point
from kopt.execution.tree import Segment, share
from kopt.project import ROOT

PICTURE = ROOT / "docs/sweep-engine.png"
EVERY_SECONDS = 0.1
KNOBS = {"01_profile": set(), "02_rewrite": {"seed"}}


def trivial(segment: Segment) -> int:
    return segment.parameters["seed"]


def measure(count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """When each point was done, and memory over time: of the command with its scheduler, and of
    all workers together."""
    points = tuple(Point(str(seed), {"seed": seed}) for seed in range(count))
    with open_cluster(workers=2) as client:
        workers = [psutil.Process(pid) for pid in client.run(os.getpid).values()]
        own, memory, stop = psutil.Process(), [], Event()
        begin = time.monotonic()

        def watch() -> None:
            while not stop.wait(EVERY_SECONDS):
                of_workers = sum(worker.memory_info().rss for worker in workers)
                memory.append((time.monotonic() - begin, own.memory_info().rss, of_workers))

        watcher = Thread(target=watch)
        watcher.start()
        done = [
            time.monotonic() - begin
            for segment, outcome in run_tree(client, share(points, KNOBS), trivial)
            if segment.stages[-1] == "02_rewrite" and outcome == segment.parameters["seed"]
        ]
        stop.set()
        watcher.join()
    assert len(done) == count
    frame = pd.DataFrame(memory, columns=["seconds", "scheduler", "workers"])
    frame[["scheduler", "workers"]] /= 1e6
    return pd.DataFrame({"point": range(1, count + 1), "seconds": done}), frame


def by_hundreds(done: pd.DataFrame, memory: pd.DataFrame) -> pd.DataFrame:
    """Milliseconds per point and megabytes, for every hundred points."""
    ends = done.seconds[99::100].tolist()
    rows = {}
    for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        during = memory[(memory.seconds > start) & (memory.seconds <= end)]
        rows[f"{100 * number + 1} to {100 * number + 100}"] = {
            "ms per point": 10 * (end - start),
            "MB command and scheduler": during.scheduler.mean(),
            "MB workers": during.workers.mean(),
        }
    return pd.DataFrame(rows).T


def draw(done: pd.DataFrame, memory: pd.DataFrame) -> None:
    figure = make_subplots(1, 2, subplot_titles=("points done", "memory, MB"))
    figure.add_scatter(
        x=done.seconds, y=done.point, line_color=COLORS[0], showlegend=False, row=1, col=1
    )
    for color, name in zip(COLORS, ("scheduler", "workers"), strict=False):
        figure.add_scatter(
            x=memory.seconds, y=memory[name], name=name, line_color=color, row=1, col=2
        )
    figure.update_xaxes(title="seconds", rangemode="tozero")
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(template="plotly_white", width=900, height=360, margin={"t": 60})
    picture(figure, PICTURE)


def picture(figure, path: Path) -> None:
    """Save a figure as a PNG, using a browser."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_path = Path(folder) / "figure.html"
        figure.write_html(page_path, include_plotlyjs=True)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 920, "height": 380})
        page.goto(page_path.as_uri())
        page.wait_for_selector(".main-svg")
        page.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    done, memory = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    print(by_hundreds(done, memory).round(1).to_string())
    draw(done, memory)
    print(PICTURE)
