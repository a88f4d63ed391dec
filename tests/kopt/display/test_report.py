"""The page of a sweep: what it says, that it is self-contained, and that no text in it runs."""

import shutil

import numpy as np
import pandas as pd
import pytest

from kopt.display.sweep_page import sweep_figure, write_sweep_page

EVIL = "</script><img src=x onerror=alert(1)>"
CHROMIUM = shutil.which("chromium")


def points(**columns):
    """Four finished points of one case, the third on no front."""
    values = {
        "case": ["signal"] * 4,
        "fraction": [0.2, 0.4, 0.6, 0.8],
        "seed": [0, 1, 0, 1],
        "quick": [False] * 4,
        "status": ["finished"] * 4,
        "score": ["accuracy"] * 4,
        "lower_is_better": [False] * 4,
        "accuracy": [88.0, 86.0, 84.0, 82.0],
        "lost": [0.0, 2.0, 4.0, 6.0],
        "size_kb": [30.0, 20.0, 20.0, 10.0],
        "gzip_kb": [25.0, 15.0, 15.0, 8.0],
        "latency_us": [20.0, 10.0, 10.0, 12.0],
        "speedup": [5.0, 10.0, 10.0, 8.0],
        "speedup_low": [4.9, 9.9, 9.9, 7.9],
        "speedup_high": [5.1, 10.1, 10.1, 8.1],
        "within_budget": ["met", "met", "accuracy missed", "met"],
        "error": [""] * 4,
    }
    index = pd.Index(["1_a", "2_b", "3_c", "4_d"], name="point")
    return pd.DataFrame(values | columns, index=index)


PARAMETERS = ["case", "fraction", "seed", "quick"]


def page_of(table, tmp_path, parameters=PARAMETERS):
    return write_sweep_page(table, parameters, tmp_path / "report.html").read_text()


def test_the_menu_offers_every_parameter_that_differs_and_colours_by_its_values():
    front = np.array([True, True, False, True])
    figure = sweep_figure(points(), front, ["fraction", "seed"], "title")
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == ["colour: fraction", "colour: seed"]
    assert list(figure.data[0].marker.color) == [0, 1, 2, 3]
    assert buttons[1].args[0]["marker.color"] == [[0, 1, 0, 1]]
    assert buttons[1].args[0]["marker.colorbar"][0]["ticktext"] == ["0", "1"]
    assert list(figure.data[1].x) == [20.0, 10.0, 12.0]


def test_the_page_tells_all_points_and_what_they_have_in_common(tmp_path):
    page = page_of(points(), tmp_path)
    assert "4 of 4 points finished" in page
    assert "case = signal, quick = False" in page
    for point in points().index:
        assert f"<th>{point}</th>" in page
    assert "one point after another on one worker" in page
    assert "A quick run" not in page
    assert "<h2>Failed" not in page
    assert page.count("<td>yes</td>") == 3
    assert page_of(points(lower_is_better=[True] * 4), tmp_path).count("<td>yes</td>") == 2


def test_a_failed_point_is_told_beside_the_others(tmp_path):
    table = points(status=["finished", "failed", "finished", "finished"])
    table.loc["2_b", ["accuracy", "latency_us", "size_kb", "speedup"]] = float("nan")
    reason = f"03_prune, cell [7]: ValueError: {'long ' * 40}story"
    table.loc["2_b", "error"] = reason
    page = page_of(table, tmp_path)
    assert "3 of 4 points finished" in page
    assert reason in page


def test_a_page_is_drawn_where_all_points_failed(tmp_path):
    page = page_of(points(status=["failed"] * 4, error=["broken"] * 4), tmp_path)
    assert "0 of 4 points finished" in page
    assert page.count("broken") == 4


def test_cases_are_not_compared_with_each_other(tmp_path):
    table = points(case=["signal", "signal", "vision", "vision"])
    page = page_of(table, tmp_path)
    assert page.count(": accuracy against latency") == 2
    assert page.count("<td>yes</td>") == 4


def test_nobodys_text_is_run_and_nothing_is_fetched(tmp_path):
    table = points(
        case=[EVIL] * 4, budget=[f"{n} {EVIL}" for n in range(4)], error=[EVIL] * 4,
        status=["finished"] * 3 + ["failed"], within_budget=[EVIL] * 4, quick=[True] * 4,
    )  # fmt: skip
    table.index = [f"{name}{EVIL}" for name in table.index]
    body = page_of(table, tmp_path, [*PARAMETERS, "budget"]).partition("</head>")[2]
    assert "<img" not in body
    assert "http" not in body.replace("http://www.w3.org", "")
    assert "A quick run" in body


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_the_menu_recolours_the_points_in_a_browser(tmp_path):
    from playwright.sync_api import sync_playwright

    write_sweep_page(points(), PARAMETERS, tmp_path / "report.html")
    complaints, requests = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else 0)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"file://{tmp_path}/report.html")
        page.wait_for_selector(".updatemenu-header")

        def fills():
            return page.eval_on_selector_all(
                ".trace >> nth=0 >> .point", "marks => marks.map(mark => mark.style.fill)"
            )

        before = fills()
        page.click(".updatemenu-header")
        page.click(".updatemenu-dropdown-button:nth-of-type(2)")
        page.wait_for_function(
            "() => document.querySelector('.updatemenu-header').textContent.includes('seed')"
        )
        after = fills()
        legend = page.text_content(".cbtitle") or ""
        browser.close()
    assert len(set(before)) == 4
    assert len(set(after)) == 2
    assert legend == "seed"
    assert complaints == []
    assert requests == [f"file://{tmp_path}/report.html"]
