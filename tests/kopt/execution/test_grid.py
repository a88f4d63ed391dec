"""Reading a grid, and the stages that its points share."""

import pytest

from kopt.cli import main
from kopt.execution.grid import read_grid
from kopt.execution.tree import share
from leankeras.errors import ParameterError

KNOWN = {"case", "run_dir", "seed", "quick", "fraction", "epochs", "budget"}


def write(tmp_path, text):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    return path


def read(tmp_path, text, **options):
    return read_grid(write(tmp_path, text), KNOWN, **options)


def test_lists_multiply_and_the_rest_is_the_same_everywhere(tmp_path):
    points = read(tmp_path, "quick: true\nfraction: [0.3, 0.5]\nseed: [0, 1, 2]\nepochs: null\n")
    assert len(points) == 6
    assert points[1].name == "2_fraction=0.3_seed=1"
    assert points[1].parameters == {
        "quick": True,
        "fraction": 0.3,
        "seed": 1,
        "epochs": None,
        "case": "signal",
    }


def test_a_list_of_one_is_no_axis_and_a_grid_without_axes_is_a_point(tmp_path):
    points = read(tmp_path, "fraction: [0.3]")
    assert [point.name for point in points] == ["1"]


def test_names_are_numbered_alike_and_safe_on_every_file_system(tmp_path):
    limits = [f'"{number} ms, 50 kB"' for number in range(1, 11)]
    text = f"budget: [{', '.join(limits)}]\nepochs: [null, 3]\ncase: [signal, stream]"
    points = read(tmp_path, text)
    assert points[0].name == "01_budget=1-ms--50-kB_epochs=None_case=signal"
    assert len({point.name.lower() for point in points}) == 40
    assert not {character for point in points for character in point.name} & set('<>:"/\\|?* ')


def test_a_very_long_name_is_cut_and_stays_its_own(tmp_path):
    limits = ", ".join(f'"1.{"0" * 150}{number} ms"' for number in range(3))
    names = [point.name for point in read(tmp_path, f"budget: [{limits}]")]
    assert len(set(names)) == 3
    assert max(map(len, names)) <= 100


CASE = """
from dataclasses import replace
from kopt.cases.signal import CASE
case = replace(CASE, name="mine")
"""


def test_a_case_in_a_file_goes_by_its_name_and_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "my_case.py").write_text(CASE)
    monkeypatch.chdir(tmp_path)
    points = read(tmp_path, "case: [signal, 'my_case.py:case']")
    assert [point.name for point in points] == ["1_case=signal", "2_case=mine"]
    assert points[1].parameters["case"] == f"{tmp_path / 'my_case.py'}:case"


def test_one_file_written_in_two_ways_is_one_case(tmp_path, monkeypatch):
    (tmp_path / "my_case.py").write_text(CASE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=r"case: '.*/my_case.py:case' appears twice"):
        read(tmp_path, "case: ['my_case.py:case', './my_case.py:case']")


def test_many_points_are_run_only_when_they_are_meant(tmp_path):
    text = f"seed: {list(range(100))}\nfraction: {[number / 101 for number in range(100)]}"
    with pytest.raises(ParameterError, match="10000 points, above 1000"):
        read(tmp_path, text)
    assert len(read(tmp_path, text, many=True)) == 10_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty; expected lines such as fraction:"),
        ("# nothing yet", "is empty"),
        ("- fraction", "contains a list; expected lines"),
        ("fraction", "contains a str; expected lines"),
        ("fraction: [0.3", "not YAML"),
        ("fraction: !!python/object:os.system [ls]", "not YAML"),
        ("fraction: 0.3\nfraction: 0.5", "fraction appears twice"),
        ("fractoin: 0.3", "fractoin: not a parameter of these notebooks; expected"),
        ("run_dir: here", "run_dir: not a parameter of these notebooks"),
        ("1: 2", "1: not a parameter of these notebooks"),
        ("temperature: [2, 4]", "temperature: not a parameter of these notebooks"),
        ("fraction: []", "fraction: an empty list gives no points"),
        ("fraction: [0.3, 0.5, 0.3]", "fraction: 0.3 appears twice"),
        ("fraction: [0, 0.0]", "fraction: 0.0 appears twice"),
        ("fraction: [[0.3]]", "fraction: saw a list; expected a value or a list of values"),
        ("fraction: {from: 0.3}", "fraction: saw a dict; expected a value"),
        ("fraction: 2026-01-01", "fraction: saw a date; expected a value"),
        ("fraction: [0.3, 1.5]", "fraction: saw 1.5; expected a number from 0 to below 1"),
        ("fraction: .nan", "fraction: saw nan; expected a number"),
        ("seed: [true]", "seed: saw True; expected an integer"),
        ("quick: 'yes'", "quick: saw 'yes'; expected True or False"),
        ("case: sginal", "case: saw 'sginal'; expected signal, vision, stream"),
        ("case: none.py:case", "none.py: no such file"),
    ],
)
def test_a_bad_grid_ends_with_a_line_and_nothing_is_started(text, message, tmp_path, capsys):
    path, folder = write(tmp_path, text), tmp_path / "sweep"
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(path), "--to", "03", "--run-dir", str(folder)])
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert message in printed.err
    assert printed.err.startswith("kopt: ")
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""
    assert not folder.exists()


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_grid_that_cannot_be_read_ends_with_a_line(content, tmp_path, capsys):
    path = tmp_path / "grid.yaml"
    if content:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(path)])
    assert ended.value.code == 2
    assert f"{path}: cannot be read" in capsys.readouterr().err


def cut(tmp_path, text, knobs):
    points = read(tmp_path, text)
    return [
        (
            segment.point[0],
            len(segment.points),
            "".join(segment.stages),
            segment.origin and segment.origin[0],
        )
        for segment in share(points, knobs)
    ]


def test_stages_with_the_same_parameters_are_one_segment(tmp_path):
    knobs = {"1": {"seed"}, "2": set(), "3": {"fraction"}, "4": {"epochs"}, "5": {"case"}}
    text = "seed: [0, 1]\nfraction: [0.3, 0.5]\nepochs: 3"
    assert cut(tmp_path, text, knobs) == [
        ("1", 2, "12", None),
        ("1", 1, "345", "1"),
        ("2", 1, "345", "1"),
        ("3", 2, "12", None),
        ("3", 1, "345", "3"),
        ("4", 1, "345", "3"),
    ]


def test_points_that_differ_from_the_start_share_nothing(tmp_path):
    knobs = {"1": {"seed"}, "2": {"fraction"}}
    assert cut(tmp_path, "seed: [0, 1]", knobs) == [("1", 1, "12", None), ("2", 1, "12", None)]


def test_a_branch_of_a_branch_continues_from_its_own_point(tmp_path):
    knobs = {"1": set(), "2": {"fraction"}, "3": {"epochs"}}
    assert cut(tmp_path, "fraction: [0.3, 0.5]\nepochs: [1, 2]", knobs) == [
        ("1", 4, "1", None),
        ("1", 2, "2", "1"),
        ("1", 1, "3", "1"),
        ("2", 1, "3", "1"),
        ("3", 2, "2", "1"),
        ("3", 1, "3", "3"),
        ("4", 1, "3", "3"),
    ]
