import os
import shutil
from functools import partial

import pytest

from leankeras.errors import ConversionError, KoptError
from leankeras.files import copy, write_atomically


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


def test_a_file_never_replaces_a_directory(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("mine")
    with pytest.raises(KoptError, match="is a directory"):
        write_atomically(tmp_path / "kept", lambda path: path.write_text("new"))
    assert (tmp_path / "kept/file").read_text() == "mine"


def test_an_interrupted_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "model.txt"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_in_a_line(tmp_path):
    def fail(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(KoptError, match="No space left on device"):
        write_atomically(tmp_path / "model.txt", fail)
    assert not list(tmp_path.iterdir())


def test_what_is_no_ordinary_file_is_never_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(KoptError, match="is a device"):
        write_atomically(pipe, lambda path: path.write_text("lost"))
    assert pipe.is_fifo()


def test_a_file_in_place_of_a_directory_is_told(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(KoptError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "a.html", lambda path: path.write_text("lost"))


def test_a_directory_is_replaced_as_a_whole(saved):
    expected = contents(saved / "new")
    write_atomically(saved / "old", partial(copy, saved / "new"), ConversionError)
    assert contents(saved / "old") == expected
    assert sorted(path.name for path in saved.iterdir()) == ["new", "old"]


@pytest.mark.parametrize("broken", ["copytree", "rename", "replace"])
def test_a_failure_leaves_what_was_there(saved, monkeypatch, broken):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    before = contents(saved)
    monkeypatch.setattr(shutil if broken == "copytree" else os, broken, full)
    with pytest.raises(ConversionError, match=r"No space left on device.*unchanged"):
        write_atomically(saved / "old", partial(copy, saved / "new"), ConversionError)
    assert contents(saved) == before


def test_an_interruption_leaves_what_was_there(saved, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    before = contents(saved)
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(saved / "old", partial(copy, saved / "new"), ConversionError)
    assert contents(saved) == before
