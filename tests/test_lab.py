"""JupyterLab in a real browser, as a user meets it: no papermill, no script."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from kopt.project import NOTEBOOKS, ROOT

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

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab on a copy of the notebooks, with settings of its own."""
    home = tmp_path_factory.mktemp("jupyter")
    folder = home / "notebooks"
    shutil.copytree(NOTEBOOKS, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    homes = {f"JUPYTER_{kind}_DIR": str(home / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    homes |= {f"JUPYTERLAB_{kind}_DIR": str(home / kind) for kind in ("SETTINGS", "WORKSPACES")}
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root",
            "--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={token}",
            f"--ServerApp.root_dir={folder}", "--LabApp.news_url=",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ],
        env=os.environ | homes | {"IPYTHONDIR": str(home / "ipython")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api/status?token={token}")
        yield f"{address}/lab/tree/{{}}?reset&token={token}"
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


def test_the_first_notebook_runs_and_shows_its_figures(lab, browser, tmp_path):
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    errors, elsewhere = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))
            else elsewhere.append(request.url)
        ),
    )
    page.goto(lab.format("01_profile.ipynb"))
    page.wait_for_selector("text=/Python 3.*\\| Idle/", timeout=60_000)
    page.wait_for_selector("#jupyterlab-splash", state="detached")

    parameters = page.locator(".jp-CodeCell .cm-content", has_text="run_dir: str").first
    parameters.click()
    page.keyboard.press("ControlOrMeta+End")
    page.keyboard.insert_text(f"\nquick = True\nrun_dir = {str(tmp_path / 'run')!r}")
    page.click("text=Run >> nth=0")
    page.click("text=Run All Cells")

    _wait_until(lambda: (tmp_path / "run/records/01_profile.json").exists(), page)
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    figures = _figures_seen(page)
    assert {"Time by layer, inside the model", "One inference, called in eight ways"} <= figures
    assert errors == []
    assert elsewhere == []


def _wait_until(done, page, seconds=300):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "the notebook did not finish"
        page.wait_for_timeout(500)


def _figures_seen(page):
    """Titles of the figures met while scrolling down: JupyterLab draws what is in view."""
    titles = set()
    page.locator(".jp-Notebook").first.hover()
    for _ in range(60):
        titles |= set(page.eval_on_selector_all(".gtitle", "all => all.map(t => t.textContent)"))
        page.mouse.wheel(0, 700)
        page.wait_for_timeout(150)
    return titles


def test_the_notebooks_lie_where_kopt_lab_opens_them():
    assert (ROOT / "notebooks/README.md").exists()
