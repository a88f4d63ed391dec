import json

from leankeras.diagnosis.finding import Diagnosis, Finding


def finding(severity: str, message: str = "x < y") -> Finding:
    return Finding("python-loop", severity, message, "layer.py:3", "one operation")


DIAGNOSIS = Diagnosis(
    "layer", (finding("info"), finding("error"), finding("warning")), {"graph nodes": 7}
)


def test_errors_come_first():
    assert [one.severity for one in DIAGNOSIS.findings] == ["error", "warning", "info"]
    assert DIAGNOSIS.errors == (finding("error"),)


def test_it_prints_itself_as_lines():
    lines = repr(DIAGNOSIS).splitlines()
    assert lines[0] == "layer: 1 error, 1 warning, 1 info"
    assert lines[1].split() == ["error", "python-loop", "layer.py:3"]
    assert "x < y" in lines[2]
    assert "one operation" in lines[3]
    assert lines[-1] == "Observed: graph nodes: 7"


def test_html_is_escaped():
    html = DIAGNOSIS._repr_html_()
    assert "x &lt; y" in html
    assert html.count("<tr") == 4


def test_without_findings_it_says_so():
    assert repr(Diagnosis("layer", ())) == "layer: no findings"
    assert "<table" not in Diagnosis("layer", ())._repr_html_()


def test_to_dict_is_json():
    restored = json.loads(json.dumps(DIAGNOSIS.to_dict()))
    assert [one["severity"] for one in restored["findings"]] == ["error", "warning", "info"]
    assert restored["observed"] == {"graph nodes": 7}
