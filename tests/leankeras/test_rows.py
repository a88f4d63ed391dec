"""Arrays that stay in their files: the same results as in memory, read a batch at a time."""

import keras
import numpy as np
import pytest

from leankeras.conversion import convert
from leankeras.data import Data
from leankeras.distillation import distill
from leankeras.errors import DataError
from leankeras.pruning import prune
from leankeras.quantization import train_quantized
from leankeras.rows import Rows, open_npy
from leankeras.runtime import compare_scores, evaluate
from leankeras.training import fit

random = np.random.default_rng(0)


def members(count=150, test=40):
    x = random.normal(size=(count + test, 8, 3))
    y = (x[..., 0].mean(axis=1) > 0).astype(int)
    names = ("x_train", "y_train", "x_test", "y_test")
    return dict(zip(names, (x[:count], y[:count], x[count:], y[count:]), strict=True))


def write(folder, arrays):
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same data in an .npz and in a folder."""
    place, arrays = tmp_path_factory.mktemp("data"), members()
    np.savez(place / "set.npz", **arrays)
    return Data.load(place / "set.npz"), Data.load(write(place / "set", arrays))


def network(width=4):
    keras.utils.set_random_seed(1)
    stack = [keras.layers.Conv1D(width, 3, activation="relu"), keras.layers.Flatten()]
    return keras.Sequential([keras.Input((8, 3)), *stack, keras.layers.Dense(2)])


def test_the_parts_of_a_folder_are_those_of_an_npz(both):
    whole, mapped = both
    for part in ("train", "val", "test"):
        assert isinstance(mapped.samples(part), Rows)
        np.testing.assert_array_equal(mapped.samples(part), whole.samples(part))
        np.testing.assert_array_equal(mapped.labels(part), whole.labels(part))
    np.testing.assert_array_equal(mapped.calibration(9), whole.calibration(9))
    fraction, expected = mapped.part(0.25), whole.part(0.25)
    assert isinstance(fraction.x_val, Rows)
    np.testing.assert_array_equal(fraction.x_val, expected.x_val)
    changed = mapped.standardised()
    assert isinstance(changed.x_test, Rows)
    np.testing.assert_allclose(changed.x_test, whole.standardised().x_test, atol=1e-5)


@pytest.mark.parametrize(
    "train",
    [
        lambda data: (model := network(), fit(model, data, 2)),
        lambda data: (prune(network(), data, epochs=1, verbose=0),),
        lambda data: (distill(network(8), network(), data, epochs=1, verbose=0),),
        lambda data: (train_quantized(network(), data, epochs=1, verbose=0).model,),
    ],
    ids=["fit", "prune", "distill", "train_quantized"],
)
def test_training_from_a_folder_gives_the_same_weights(both, train):
    trained = []
    for data in both:
        keras.utils.set_random_seed(0)
        trained.append(train(data)[0].get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, other)


def test_scores_of_a_folder_are_those_of_an_npz(both, tmp_path):
    model = network()
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "saved", verbose=False)
    targets = {"model": model, "file": tmp_path / "model.keras", "saved": tmp_path / "saved"}
    one, other = (compare_scores(targets, data) for data in both)
    assert one.equals(other)
    one, other = (evaluate(model, data.x_test, data.y_test) for data in both)
    assert one == other


def test_several_inputs_labels_of_pixels_and_integers_train_from_a_folder(tmp_path):
    x = {"a": random.integers(0, 255, (40, 4, 4, 1), np.uint8), "b": random.normal(size=(40, 4))}
    y = (x["a"] > 128).astype(np.int64)
    arrays = {f"x_{part}/{name}": array for part in ("train", "test") for name, array in x.items()}
    arrays |= {"y_train": y, "y_test": y}
    np.savez(tmp_path / "set.npz", **arrays)
    folder = write(tmp_path / "set", arrays)
    inputs = {
        "a": keras.Input((4, 4, 1), dtype="uint8", name="a"),
        "b": keras.Input((4,), name="b"),
    }
    scaled = keras.layers.Rescaling(1 / 255)(inputs["a"])
    spread = keras.layers.Reshape((1, 1, 4))(inputs["b"])
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1)(scaled * 4) + keras.ops.mean(spread))
    start, trained, scores = model.get_weights(), [], []
    for data in (Data.load(tmp_path / "set.npz"), Data.load(folder)):
        model.set_weights(start)
        keras.utils.set_random_seed(0)
        fit(model, data, 1, batch_size=8)
        trained.append(model.get_weights())
        scores.append(evaluate(model, data.x_test, data.y_test))
    assert scores[0] == scores[1]
    assert "IoU" in scores[0]
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, other)


def test_labels_of_large_outputs_are_scored_in_parts(tmp_path, monkeypatch):
    x = random.normal(size=(700, 6))
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6)])
    whole = evaluate(model, x, x)
    monkeypatch.setattr("leankeras.runtime.scores.CHUNK_BYTES", 1)  # every batch by itself
    assert evaluate(model, x, x) == pytest.approx(whole)
    np.save(tmp_path / "x.npy", x)
    rows = open_npy(tmp_path / "x.npy")
    assert evaluate(model, rows, rows) == pytest.approx(whole)


def test_only_the_rows_asked_for_are_read(tmp_path):
    array = np.arange(60.0).reshape(20, 3)
    np.save(tmp_path / "x.npy", array)
    seen = []
    rows = open_npy(tmp_path / "x.npy").changed(lambda batch: seen.append(len(batch)) or 2 * batch)
    assert (rows.shape, rows.ndim, rows.size, len(rows)) == ((20, 3), 2, 60, 20)
    np.testing.assert_array_equal(rows[[4, 1]], 2 * array[[4, 1]])
    np.testing.assert_array_equal(rows[-1], 2 * array[-1])
    chosen = rows.selected(np.arange(0, 20, 2))
    np.testing.assert_array_equal(chosen[2:4], 2 * array[[4, 6]])
    assert max(seen) == 2
    with pytest.raises(IndexError):
        rows[20]


def test_bytes_in_the_other_order_come_out_in_the_machines_own(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2).astype(">f4"))
    rows = open_npy(tmp_path / "x.npy")
    assert rows.dtype == rows[:2].dtype == np.dtype("float32")
    np.testing.assert_array_equal(rows[1:], [[2, 3], [4, 5]])


def cut_off(folder):
    path = folder / "x_train.npy"
    path.write_bytes(path.read_bytes()[:-100])


def not_finite(folder):
    x = np.load(folder / "x_test.npy")
    x[3:5, 0, 0] = np.nan, np.inf
    np.save(folder / "x_test.npy", x)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "x_train.npy").unlink(), "x_train missing of x_train, y_train"),
        (lambda f: (f / "y_test.npy").unlink(), "y_train without y_test"),
        (lambda f: np.save(f / "y_train.npy", np.zeros(9, int)), "a label for each sample"),
        (
            lambda f: np.save(f / "y_train.npy", np.zeros((150, 2), object), allow_pickle=True),
            r"y_train\.npy: not a readable \.npy of a plain array",
        ),
        (cut_off, r"x_train\.npy: not a readable \.npy of a plain array"),
        (lambda f: (f / "x_test.npy").write_bytes(b""), r"x_test\.npy: not a readable"),
        (lambda f: (f / "x_test.npy").write_bytes(b"\x80\x04N."), r"x_test\.npy: not a readable"),
        (not_finite, "x_test holds NaN or Inf in 2 of 40 samples"),
        (lambda f: write(f, {"x_train/a": np.zeros((150, 2))}), "has both x_train and x_train/a"),
        (lambda f: [p.unlink() for p in f.iterdir()], r"has arrays \(none\); x_train, x_test"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused_in_a_line(tmp_path, spoil, message):
    folder = write(tmp_path / "set", members())
    spoil(folder)
    with pytest.raises(DataError, match=message) as refused:
        Data.load(folder)
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)


def test_a_folder_is_looked_through_once(both, monkeypatch):
    _, mapped = both

    def look(array):
        return pytest.fail("read again") if isinstance(array, Rows) else [array]

    monkeypatch.setattr("leankeras.data.chunks", look)
    assert mapped.part(0.5).x_train.is_finite


def test_nothing_reads_more_than_a_batch_of_a_large_set(tmp_path, monkeypatch):
    count, largest, read = 1500, [], Rows._read
    x = random.normal(size=(count, 8, 3)).astype("float32")
    arrays = {"x_train": x, "y_train": (x > 0).astype(int), "x_test": x, "y_test": 1 * (x > 0)}
    folder = write(tmp_path / "set", arrays)
    for module in ("rows", "runtime.scores"):
        monkeypatch.setattr(f"leankeras.{module}.CHUNK_BYTES", 10_000)
    monkeypatch.setattr("leankeras.task.task.LOOKED_AT", 1000)

    def counted(self, rows):
        largest.append(len(rows))
        return read(self, rows)

    monkeypatch.setattr(Rows, "_read", counted)
    data = Data.load(folder).with_samples(lambda batch: 2 * batch).part(0.9)
    model = keras.Sequential([keras.Input((8, 3)), keras.layers.Conv1D(3, 3, padding="same")])
    fit(model, data, 1)
    train_quantized(model, data, epochs=1, verbose=0)
    made = convert(model, tmp_path / "m.tflite", "int8", data.calibration(50))
    table = compare_scores({"model": model, "file": made.path}, data)
    assert len(table) == 2
    assert max(largest) <= 256
