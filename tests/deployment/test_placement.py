import os
import shutil

import pytest

from kopt.deployment.placement import check_place, put_in_place
from kopt.errors import ConversionError, ParameterError

ENDINGS = (".tflite", "")


def contents(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def saved(tmp_path):
    """A SavedModel, as far as its names go, and one to take its place."""
    for name in ("old", "new"):
        (tmp_path / name / "variables").mkdir(parents=True)
        (tmp_path / name / "saved_model.pb").write_text(name)
        (tmp_path / name / "variables" / "data").write_text(name)
    (tmp_path / "old" / "only in the old").write_text("old")
    return tmp_path


def test_free_places_and_those_that_may_be_replaced_pass(saved):
    (saved / "empty").mkdir()
    (saved / "a.tflite").write_text("an older one")
    for name in ("a.tflite", "b.tflite", "fresh", "empty", "old"):
        check_place(saved / name, ENDINGS)


def test_a_directory_of_other_things_is_never_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(ParameterError, match="with other things in it; expected a new name"):
        check_place(tmp_path / "home", ENDINGS)


def test_a_directory_is_replaced_as_a_whole(saved):
    expected = contents(saved / "new")
    put_in_place(saved / "new", saved / "old")
    assert contents(saved / "old") == expected
    assert sorted(path.name for path in saved.iterdir()) == ["new", "old"]


@pytest.mark.parametrize("broken", ["copytree", "rename", "replace"])
def test_a_failure_leaves_what_was_there(saved, monkeypatch, broken):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    before = contents(saved)
    monkeypatch.setattr(shutil if broken == "copytree" else os, broken, full)
    with pytest.raises(ConversionError, match=r"No space left on device.*unchanged"):
        put_in_place(saved / "new", saved / "old")
    assert contents(saved) == before


def test_an_interruption_leaves_what_was_there(saved, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    before = contents(saved)
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put_in_place(saved / "new", saved / "old")
    assert contents(saved) == before


def test_a_device_is_no_place(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ParameterError, match="is a device"):
        check_place(tmp_path / "pipe", [""])
