import os

import pytest

from leankeras.errors import ParameterError
from leankeras.files import check_place

ENDINGS = (".tflite", "")


def test_free_places_and_those_that_may_be_replaced_pass(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/saved_model.pb").write_text("an older one")
    (tmp_path / "a.tflite").write_text("an older one")
    for name in ("a.tflite", "b.tflite", "fresh", "empty", "saved"):
        check_place(tmp_path / name, ENDINGS)


def test_a_directory_of_other_things_is_never_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(ParameterError, match="with other files in it; expected a new name"):
        check_place(tmp_path / "home", ENDINGS)


def test_a_device_is_no_place(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ParameterError, match="is a device"):
        check_place(tmp_path / "pipe", [""])
