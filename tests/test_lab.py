"""JupyterLab in a real browser, as users see it: no papermill, no script.

If KOPT_SCREENSHOTS is set to a directory, screenshots of the panels are saved there.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

from kopt.project import NOTEBOOKS
from tests.kopt.display.contrast import contrast
from tests.kopt.display.panel_cells import PANELS

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# anywidget gives a widget two seconds to start, which a busy test machine may exceed.
PATIENCE = (
    "const wait = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = ms => wait(60 * ms)"
)
HERE = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")

pytestmark = pytest.mark.browser


def write_notebook(path, cells):
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(cell.strip(), metadata={"jupyter": {"source_hidden": True}})
            for cell in cells
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}},
    )
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab on a copy of the notebooks, with settings of its own."""
    home = tmp_path_factory.mktemp("jupyter")
    folder = home / "notebooks"
    shutil.copytree(NOTEBOOKS, folder)
    write_notebook(folder / "panels.ipynb", PANELS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    homes = {f"JUPYTER_{kind}_DIR": str(home / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    homes |= {f"JUPYTERLAB_{kind}_DIR": str(home / kind) for kind in ("SETTINGS", "WORKSPACES")}
    quiet = home / "SETTINGS/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root",
            "--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={token}",
            f"--ServerApp.root_dir={folder}", "--LabApp.news_url=",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.expose_app_in_browser=True",
        ],
        env=os.environ | homes | {"IPYTHONDIR": str(home / "ipython")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api/status?token={token}")
        yield f"{address}/lab/tree/{{}}?reset&token={token}", folder
    finally:
        server.terminate()
        server.wait(30)


def _wait_for(address):
    for _ in range(240):
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.25)
    raise TimeoutError(address)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no chromium; .ci/run is to install it")
        pytest.skip("no chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def is_of_jupyterlab(error):
    """JupyterLab now and then takes out of the page what is gone already; figures do not."""
    return "removeChild" in error.message and "plotly" not in (error.stack or "")


@pytest.fixture
def page(browser):
    """A tab in which nothing may fail, and from which nothing may leave this machine."""
    page = browser.new_page(viewport={"width": 1240, "height": 1900})
    page.set_default_timeout(120_000)
    page.add_init_script(PATIENCE)
    faults = []
    page.on("pageerror", lambda error: is_of_jupyterlab(error) or faults.append(str(error)))
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.on("request", lambda asked: asked.url.startswith(HERE) or faults.append(asked.url))
    yield page
    page.close()
    assert faults == []


def open_notebook(page, lab, name):
    address, folder = lab
    page.goto(address.format(name))
    page.wait_for_selector("text=/Python 3.*\\| Idle/")
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    return folder / name


def run_all(page):
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")


def wait_until(done, page, seconds=300):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "the notebook did not finish"
        page.wait_for_timeout(500)


def press(locator, key, times=1):
    """Use a control with the keyboard alone."""
    locator.focus()
    for _ in range(times):
        locator.page.keyboard.press(key)


def picture(panel, name):
    """Leave a picture for the docs, where one is asked for."""
    folder = os.environ.get("KOPT_SCREENSHOTS")
    if folder:
        panel.screenshot(path=str(Path(folder) / f"{name}.png"))


def assert_readable(panel):
    """Every text of a panel stands out from the notebook's background."""
    background = panel.evaluate("""panel => {
        let node = panel, color
        do { color = getComputedStyle(node).backgroundColor; node = node.parentElement }
        while (node && /, 0\\)$|transparent/.test(color))
        return color
    }""")
    fills = panel.locator(".main-svg :not(.hovertext) > text").evaluate_all(
        "all => all.filter(t => t.textContent).map(t => getComputedStyle(t).fill)"
    )
    assert len(fills) > 10
    assert min(contrast(fill, background) for fill in fills) >= 4.5


def in_both_themes(page, panel, name):
    for theme in ("Light", "Dark"):
        page.evaluate(
            "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})",
            f"JupyterLab {theme}",
        )
        page.wait_for_selector(f"body[data-jp-theme-name='JupyterLab {theme}']", state="attached")
        assert_readable(panel)
        picture(panel, f"{name}-{theme.lower()}")


def title(panel):
    return panel.locator(".gtitle").text_content()


def test_the_first_notebook_runs_shows_its_figures_and_measures_on_demand(lab, page, tmp_path):
    open_notebook(page, lab, "01_profile.ipynb")
    parameters = page.locator(".jp-CodeCell .cm-content", has_text="run_dir: str").first
    parameters.click()
    page.keyboard.press("ControlOrMeta+End")
    page.keyboard.insert_text(f"\nquick = True\nrun_dir = {str(tmp_path / 'run')!r}")
    page.click("text=Run >> nth=0")
    page.click("text=Run All Cells")
    wait_until(lambda: (tmp_path / "run/records/01_profile.json").exists(), page)
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    figures = figures_seen(page)
    assert {"Time by layer, inside the model", "One inference, called in eight ways"} <= figures

    panel = page.locator(".kopt-panel")
    panel.scroll_into_view_if_needed()
    batch, threads = panel.locator(".noUi-handle").all()
    press(batch, "ArrowRight", times=2)
    press(threads, "Home")
    panel.locator("text=batch 4, 1 thread: not measured yet").wait_for()
    labels = panel.locator(".bartext").count()
    press(panel.get_by_role("button", name="Measure"), "Enter")
    panel.locator("text=timing the ways to call").wait_for()
    assert panel.locator("button:disabled").count() == 1
    panel.locator("text=/^measured in/").wait_for()
    assert title(panel) == "batch 4, 1 thread: compared with this notebook"
    assert panel.locator(".bartext").count() == 2 * labels  # a bar next to each
    in_both_themes(page, panel, "latency")


def figures_seen(page):
    """Titles of the figures met while scrolling down: JupyterLab draws what is in view."""
    titles = set()
    page.locator(".jp-Notebook").first.hover()
    for _ in range(60):
        titles |= set(page.eval_on_selector_all(".gtitle", "all => all.map(t => t.textContent)"))
        page.mouse.wheel(0, 700)
        page.wait_for_timeout(150)
    return titles


def test_curves_and_pareto_panel_follow_keyboard_and_mouse(lab, page):
    notebook = open_notebook(page, lab, "panels.ipynb")
    run_all(page)
    page.wait_for_selector(".kopt-panel:has-text('files remain')")
    curves, pareto = page.locator(".kopt-panel").all()

    sparsity, fraction = curves.locator(".noUi-handle").all()
    ring = curves.locator("path.point[style*='stroke-width: 3px']").first
    before = ring.get_attribute("transform")
    press(sparsity, "ArrowLeft", times=10)
    curves.locator("text=/sparsity 0.87: .*interpolated between 0.5 and 0.9/").wait_for()
    assert ring.get_attribute("transform") != before
    in_both_themes(page, curves, "tradeoff")

    points = curves.locator("path.point").count()
    press(fraction, "ArrowLeft", times=5)
    curves.locator("text=/fraction 0.70: .*interpolated/").wait_for()
    press(curves.get_by_role("button", name="Compute this fraction"), "Enter")
    curves.locator("text=/added to the curve in/").wait_for()
    curves.locator("text=/fraction 0.70: .*\\(measured\\)/").wait_for()
    assert curves.locator("path.point").count() == points + 3

    curves.get_by_role("button", name="Compute this sparsity").dblclick()
    curves.locator("text=/no channel that can be removed/").wait_for()
    assert curves.locator("button:disabled").count() == 0

    pareto.scroll_into_view_if_needed()
    assert title(pareto).startswith("3 of 7 files remain")
    dot = pareto.locator(".scatterlayer .trace").last.locator("path.point").nth(2).bounding_box()
    page.mouse.move(dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2)
    page.mouse.down()
    page.mouse.up()
    pareto.locator("text=models/dynamic.tflite").wait_for()
    latency, name = (pareto.locator(".noUi-handle").nth(number) for number in (1, 3))
    press(name, "ArrowRight")
    pareto.locator("text=models/int8.tflite").wait_for()
    press(latency, "ArrowRight", times=60)
    pareto.locator("text=4 of 7 files remain").wait_for()
    in_both_themes(page, pareto, "pareto")

    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    wait_until(lambda: "files remain" in notebook.read_text(), page)
    see_again(page.context.browser, lab, shutil.copy(notebook, notebook.with_name("again.ipynb")))


def see_again(browser, lab, copy):
    """A saved notebook shows its figures where no kernel knows its widgets any more."""
    page = browser.new_page(viewport={"width": 1240, "height": 1900})
    page.set_default_timeout(120_000)
    open_notebook(page, lab, copy.name)
    figures = page.locator(".jp-OutputArea-output:has(img, .js-plotly-plot)")
    figures.nth(1).wait_for()
    assert all(figure.bounding_box()["height"] > 300 for figure in figures.all())
    assert page.locator(".kopt-panel").count() == 0
    page.close()
