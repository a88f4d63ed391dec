import hashlib
import re
import zipfile

import pytest

from leankeras.digest import digest


@pytest.fixture
def saved(small_model, tmp_path):
    small_model.save(tmp_path / "a.keras")
    return tmp_path / "a.keras"


def rewritten(path, change):
    """A copy of an archive with other contents for some of its members."""
    copy = path.with_name("b.keras")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return copy


def test_the_digest_of_a_keras_file_is_blind_to_its_date(small_model, saved):
    small_model.save(saved.with_name("b.keras"))
    assert digest(saved) == digest(saved.with_name("b.keras"))
    small_model.layers[-1].bias.assign([1.0, 2.0])
    small_model.save(saved.with_name("b.keras"))
    assert digest(saved) != digest(saved.with_name("b.keras"))


def test_the_digest_of_a_keras_file_is_blind_to_addresses(saved):
    def elsewhere(name, content):
        return re.sub(
            rb'("shared_object_id": )(\d+)', lambda id: id[1] + b"%d" % (int(id[2]) + 64), content
        )

    def apart(name, content):
        return re.sub(rb'"shared_object_id": \d+', b'"shared_object_id": 7', content, count=1)

    with zipfile.ZipFile(saved) as archive:
        assert archive.read("config.json").count(b"shared_object_id") > 1
    assert digest(rewritten(saved, elsewhere)) == digest(saved)
    assert digest(rewritten(saved, apart)) != digest(saved)


def test_the_digest_of_one_file_is_its_sha256(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"abc")
    assert digest(tmp_path / "model.tflite") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("size", [0, 10, 2000, -1])
def test_a_torn_keras_file_is_unlike_the_whole_one(saved, size):
    whole = digest(saved)
    saved.write_bytes(saved.read_bytes()[:size])
    assert digest(saved) != whole


def test_a_saved_model_is_the_same_when_it_is_written_again(small_model, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_text("graph")
        (tmp_path / name / "fingerprint.pb").write_text(f"random {name}")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    (tmp_path / "b/assets.txt").write_text("more")
    assert digest(tmp_path / "a") != digest(tmp_path / "b")


def test_a_large_folder_is_read_once_until_a_file_changes(tmp_path, monkeypatch):
    (tmp_path / "d" / "x_train").mkdir(parents=True)
    for name in ("x_train/a.npy", "y_train.npy"):
        (tmp_path / "d" / name).write_bytes(name.encode() * 1000)
    small = digest(tmp_path / "d")
    monkeypatch.setattr("leankeras.digest.LARGE_BYTES", 1000)
    assert digest(tmp_path / "d") == small
    monkeypatch.setattr("leankeras.digest._parts", lambda path: pytest.fail("read again"))
    assert digest(tmp_path / "d") == small
    monkeypatch.undo()
    monkeypatch.setattr("leankeras.digest.LARGE_BYTES", 1000)
    (tmp_path / "d" / "y_train.npy").write_bytes(b"other")
    assert digest(tmp_path / "d") != small
