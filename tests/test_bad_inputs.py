"""A table of bad inputs: each gets a one-line answer before any work, and nothing is lost."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import kopt
from kopt.cli import main
from kopt.project import NOTEBOOKS
from leankeras.conversion import formats
from leankeras.conversion.formats import save_model
from leankeras.data import Data
from leankeras.errors import (
    ConversionError,
    DataError,
    EquivalenceError,
    KoptError,
    MeasurementError,
    ModelError,
    ParameterError,
)
from leankeras.runtime import load_keras

layers = keras.layers
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


class Unregistered(layers.Layer):
    def call(self, x):
        return x


def plain_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    stack = [layers.Conv1D(4, 3, name="conv"), layers.GlobalAveragePooling1D(), layers.Dense(2)]
    return keras.Sequential([keras.Input((16, 2)), *stack], name="plain")


def with_members(source: Path, path: Path, **changed: bytes | str) -> None:
    """A copy of a .keras archive with other members, or more of them."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, **changed}.items():
            archive.writestr(name, content)


def with_layer(source: Path, path: Path, **changed: str) -> None:
    """A copy of a .keras archive whose first layer claims to be something else."""
    with zipfile.ZipFile(source) as archive:
        config = json.loads(archive.read("config.json"))
    config["config"]["layers"][1].update(changed)
    with_members(source, path, **{"config.json": json.dumps(config)})


def make_models(folder: Path) -> None:
    model = plain_model()
    model.save(folder / "good.keras")
    model.save(folder / "keras2.h5")
    model.save_weights(folder / "only.weights.h5")
    model.export(folder / "saved", verbose=False)
    good = folder / "good.keras"
    content = good.read_bytes()
    (folder / "empty.keras").write_bytes(b"")
    (folder / "cut.keras").write_bytes(content[: len(content) // 2])
    middle = len(content) // 2
    (folder / "damaged.keras").write_bytes(content[:middle] + bytes(200) + content[middle + 200 :])
    shutil.copy(folder / "keras2.h5", folder / "h5.keras")
    shutil.copy(folder / "only.weights.h5", folder / "weights.keras")
    (folder / "text.txt").write_text("nothing of ours")
    with_members(good, folder / "guest.keras", **{"setup.py": b"raise SystemExit"})
    with_members(good, folder / "climbing.keras", **{"assets/../../evil.txt": b"here"})
    with_members(good, folder / "list.keras", **{"config.json": "[]"})
    with_members(good, folder / "noconfig.keras", **{"config.json": "{"})
    with_layer(good, folder / "system.keras", module="os", class_name="system")
    keras.Sequential([keras.Input((16, 2)), Unregistered()]).save(folder / "unregistered.keras")
    double = layers.Lambda(lambda x: 2 * x, output_shape=(16, 2))
    keras.Sequential([keras.Input((16, 2)), double]).save(folder / "lambda.keras")
    model.get_layer("conv").kernel.assign(np.full((3, 2, 4), np.nan))
    model.save(folder / "nan.keras")
    pair = [keras.Input((4,), name="a"), keras.Input((3,), name="b")]
    keras.Model(pair, layers.Dense(2)(layers.Concatenate()(pair))).save(folder / "two.keras")
    named = [keras.Input((16, 2)), layers.Flatten()]
    keras.Sequential([*named, layers.Dense(1, "sigmoid")], name="one").save(folder / "one.keras")
    many = keras.Sequential([*named, layers.Dense(640)])
    many.layers[-1].bias.assign(np.arange(640.0))  # the first two are never the largest
    many.save(folder / "many.keras")
    keras.Sequential([*named, layers.Rescaling(0.9)]).save(folder / "auto.keras")
    pooled = [keras.Input((None, 2)), layers.GlobalAveragePooling1D()]
    keras.Sequential(pooled).save(folder / "open.keras")


def make_data(folder: Path) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 16, 2)).astype("float32"), np.arange(40) % 2
    good = dict(zip(ARRAYS, (x, y, x, y), strict=True))
    variants = {
        "good": {},
        "objects": {"x_train": np.array([{"a": 1}] * 40, dtype=object)},
        "count": {"y_test": y[:5]},
        "negative": {"y_train": y - 1},
        "high": {"y_train": 7 * y},
        "floats": {"y_train": y.astype(float)},
        "one_hot": {"y_train": np.eye(2)[y]},
        "words": {"y_train": np.array(["a", "b"] * 20)},
        "nan": {"x_train": x * np.nan},
        "complex": {"x_train": x * 1j},
        "shape": {"x_train": x[:, :8], "x_test": x[:, :8]},
        "unlike": {"x_test": x[:, :8]},
        "unscaled": {"x_train": 255 * x},
        "constant": {"x_train": 0 * x},
        "one_class": {"y_train": 0 * y},
        "one_tested": {"y_test": 0 * y},
        "one_chosen_by": {"x_val": x[:9], "y_val": 0 * y[:9]},
        "numbers": {"y_train": x.mean((1, 2)), "y_test": x.mean((1, 2))},
        "nan_target": {"y_train": np.where(y, np.nan, 0.5), "y_test": x.mean((1, 2))},
        "length": {"y_train": y[:7]},
        "no_validation": {"x_val": x[:0], "y_val": y[:0]},
        "half_validation": {"x_val": x[:9]},
        "one_group": {"groups_train": 0 * y},
        "named": {"x_train/a": x},
        "unlabelled": {"y_train": None, "y_test": None},
    }
    for name, changed in variants.items():
        kept = {key: array for key, array in (good | changed).items() if array is not None}
        np.savez(folder / f"{name}.npz", **kept)
    single = {name: array[np.unique(y, return_index=True)[1]] for name, array in good.items()}
    np.savez(folder / "single.npz", **single)
    np.savez(folder / "few.npz", **{name: array[:4] for name, array in good.items()})
    np.savez(folder / "labels.npz", y_train=y)
    np.savez(folder / "structure.npz", **{"x_train/a": x, "y_train": y, "x_test": x, "y_test": y})
    for name in ("missing", "unlike_lengths", "cut_off", "mapped_objects"):
        (folder / name).mkdir()
        for member, array in good.items():
            np.save(folder / name / f"{member}.npy", array)
    (folder / "missing" / "x_test.npy").unlink()
    np.save(folder / "unlike_lengths" / "y_train.npy", y[:7])
    whole = (folder / "cut_off" / "x_test.npy").read_bytes()
    (folder / "cut_off" / "x_test.npy").write_bytes(whole[:999])
    objects = np.array([[{"a": 1}]] * 40, dtype=object)
    np.save(folder / "mapped_objects" / "x_train.npy", objects, allow_pickle=True)
    for name in ("lfs.npz", "lfs.h5", "lfs.tflite"):
        (folder / name).write_text("version https://git-lfs.github.com/spec/v1\n")
    (folder / "pickle.npz").write_bytes(pickle.dumps(good))
    np.save(folder / "array.npy", x)
    (folder / "array.npy").rename(folder / "array.npz")
    (folder / "empty.npz").write_bytes(b"")
    content = (folder / "good.npz").read_bytes()
    (folder / "cut.npz").write_bytes(content[:3000])
    (folder / "damaged.npz").write_bytes(content[:600] + bytes(300) + content[900:])
    header = b"\x93NUMPY\x01\x00v\x00" + (
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000, 16, 2), }".ljust(117)
        + b"\n"
    )
    with zipfile.ZipFile(folder / "claims.npz", "w") as archive:
        for name in ARRAYS:
            archive.writestr(f"{name}.npy", header)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files of every wrong kind; nothing of them may change."""
    folder = tmp_path_factory.mktemp("inputs")
    make_models(folder)
    make_data(folder)
    kopt.convert(folder / "good.keras", folder / "good.tflite", "float32")
    content = (folder / "good.tflite").read_bytes()
    (folder / "cut.tflite").write_bytes(content[:1200])
    (folder / "empty.tflite").write_bytes(b"")
    shutil.copy(folder / "good.tflite", folder / "tflite.keras")
    shutil.copy(folder / "good.keras", folder / "keras.tflite")
    shutil.copy(folder / "good.keras", folder / "keras.npz")
    for name in ("folder", "folder.tflite", "damaged_saved"):
        (folder / name).mkdir()
    (folder / "folder" / "mine.txt").write_text("of mine")
    (folder / "damaged_saved" / "saved_model.pb").write_bytes(b"not a protobuf")
    (folder / "before.tflite").write_bytes(b"the file before")
    (folder / "broken.py").write_text("1 / 0")
    (folder / "case.py").write_text("number = 3")
    return folder


@pytest.fixture(autouse=True)
def in_the_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if "__pycache__" not in str(path)
    }


FLOAT = "-o before.tflite --mode float32"
INT8 = "-o before.tflite --data"
OWN = "--run-dir new --model"
COMMANDS = {
    # searches
    "search signal --minutes 0": "minutes: saw 0.0; expected a number above 0",
    "search signal --trials 2": "trials: saw 2; expected at least 3",
    "search signal --budget none": "budget: saw 'none'; expected limits such as",
    "search signal --budget 3us": "the fastest file would be one that knows nothing",
    "search signal --budget 3us,3%": "is a share, so give its loss as in '0.5 points'",
    "search signal --goal accurate --budget 1point": "limit latency or size",
    "search signal --goal best": "goal: saw 'best'; expected one of fastest",
    "search signal --sampler grid": "sampler: saw 'grid'; expected one of tpe",
    "search signal --mode int4": "modes: saw int4; expected some of float32",
    "search signal --seed -1": "seed: saw -1; expected an integer from 0",
    "search signal --run-dir text.txt": "text.txt is a file; expected a directory for the search",
    "search signal --run-dir .": ". is neither empty nor a search; choose another --run-dir",
    "search signal --run-dir new --resume": "new holds no search to continue; leave out --resume",
    "search signal --scheduler tcp://127.0.0.1:1 --workers 2": "--workers 2 is for a local cluster",
    "search --model good.keras --data single.npz --trials 3": "second sample to validate on",
    "search nothing": "case: saw 'nothing'; expected signal",
    "run signal -p chain none.json": "chain: none.json cannot be read",
    "run signal -p chain text.txt": "chain: text.txt: not JSON",
    # models
    f"convert none.keras {FLOAT}": "none.keras: no such file; expected a .keras or",
    f"convert only.weights.h5 {FLOAT}": "only.weights.h5: holds weights only; build the model,",
    f"convert weights.keras {FLOAT}": "weights.keras: holds weights only; build the model,",
    f"convert tflite.keras {FLOAT}": "tflite.keras: already a .tflite; expected the Keras",
    f"convert good.tflite {FLOAT}": "good.tflite: already a .tflite; expected the Keras",
    f"convert empty.keras {FLOAT}": "empty.keras: damaged or not a .keras file (BadZipFile: File",
    f"convert cut.keras {FLOAT}": "cut.keras: damaged or not a .keras file (BadZipFile: File is",
    f"convert damaged.keras {FLOAT}": "damaged.keras: Keras cannot open it in safe mode (Bad",
    f"convert text.txt {FLOAT}": "text.txt: not a .keras or .h5 file; save one with",
    f"convert good.npz {FLOAT}": "good.npz: not a .keras or .h5 file; save one with",
    f"convert folder {FLOAT}": "folder: not a SavedModel (saved_model.pb is missing); write one",
    f"convert damaged_saved {FLOAT}": "damaged_saved: not a usable SavedModel (OSError: Cannot",
    f"convert guest.keras {FLOAT}": "guest.keras: also holds setup.py; a .keras file holds",
    f"convert climbing.keras {FLOAT}": "climbing.keras: also holds assets/../../evil.txt; a",
    f"convert list.keras {FLOAT}": "list.keras: config.json describes no model; save the model",
    f"convert noconfig.keras {FLOAT}": "noconfig.keras: damaged or not a .keras file",
    f"convert system.keras {FLOAT}": "system.keras: Keras does not know class 'system'; import",
    f"convert unregistered.keras {FLOAT}": "Keras does not know class 'Unregistered'; import the",
    f"convert lambda.keras {FLOAT}": "lambda.keras: holds a Lambda layer, which is code and is",
    f"convert nan.keras {FLOAT}": "weight conv/kernel holds NaN or Inf; retrain plain",
    f"convert nan.keras {INT8} good.npz": "weight conv/kernel holds NaN or Inf; retrain plain",
    f"convert open.keras {FLOAT}": "has the open shape (None, 2); give samples of the shape",
    f"convert two.keras {INT8} good.npz": "good.npz: 1 array(s) of samples; this model has 2",
    # places
    "convert good.keras -o none/a.tflite": "none: no such directory; create it first",
    "convert good.keras -o text.txt/a.tflite": "text.txt is a file; expected a directory to write",
    "convert good.keras -o folder.tflite": "folder.tflite is a directory; expected the name of a",
    "convert good.keras -o folder": "folder is a directory with other files in it; expected a",
    "convert good.keras -o a.pb": "a.pb: expected a name that ends in .tflite or .keras or .h5 or",
    "convert good.keras -o /proc/a.tflite": "/proc cannot be written to (No such file or",
    "convert good.keras -o good.keras": "good.keras is the model itself; give another name",
    # formats
    "convert good.keras -o a.onnx --mode int8": "--mode int8 is for a .tflite; leave it out for",
    "convert saved -o a.onnx": "saved is a directory; expected a .keras or .h5 file",
    "convert lambda.keras -o a.onnx": "lambda.keras: holds a Lambda layer, which is code and is",
    "convert nan.keras -o a.h5": "weight conv/kernel holds NaN or Inf; retrain plain",
    # data
    "convert good.keras -o before.tflite": "mode 'int8' needs calibration samples; pass",
    f"convert good.keras {INT8} none.npz": "none.npz: no such file; expected an .npz with",
    f"convert good.keras {INT8} folder": "folder: a directory; expected an .npz with x_train, or",
    f"convert good.keras {INT8} objects.npz": "objects.npz: not a readable .npz of plain arrays",
    f"convert good.keras {INT8} pickle.npz": "pickle.npz: not a readable .npz (no archive of",
    f"convert good.keras {INT8} array.npz": "array.npz: not a readable .npz (no archive of",
    f"convert good.keras {INT8} empty.npz": "empty.npz: not a readable .npz (no archive of",
    f"convert good.keras {INT8} cut.npz": "cut.npz: not a readable .npz (no archive of arrays);",
    f"convert good.keras {INT8} damaged.npz": "damaged.npz: not a readable .npz of plain arrays",
    f"convert good.keras {INT8} claims.npz": "claims.npz: not a readable .npz of plain arrays",
    f"convert good.keras {INT8} keras.npz": "keras.npz: samples of metadata.json are bytes of",
    f"convert good.keras {INT8} nan.npz": "nan.npz: NaN or Inf in 40 of 40 samples of x; remove",
    f"convert good.keras {INT8} complex.npz": "complex.npz: samples of x are ndarray of dtype",
    f"convert good.keras {INT8} unlike.npz": "unlike.npz: samples of x have shape (40, 8, 2);",
    f"convert good.keras {INT8} shape.npz": "samples of x have shape (40, 8, 2); expected (n, 16,",
    f"convert good.keras {INT8} few.npz": "4 calibration samples; expected 10 or more, drawn from",
    f"convert good.keras {INT8} constant.npz": "all calibration samples of x are 0; expected real",
    f"convert good.keras {INT8} unscaled.npz": "and the evaluation samples in [-2.93, 2.48];",
    # other commands
    "bench none.tflite": "none.tflite: no such file; expected a .tflite",
    "bench good.tflite none.tflite": "none.tflite: no such file; expected a .tflite",
    "bench empty.tflite": "empty.tflite: not a .tflite (identifier TFL3 is missing); convert the",
    "bench cut.tflite": "cut.tflite: a damaged .tflite of 1200 bytes; convert the model again",
    "bench keras.tflite": "keras.tflite: not a .tflite (identifier TFL3 is missing); convert the",
    "bench tflite.keras": "tflite.keras: already a .tflite; expected the Keras model it was made",
    "bench lambda.keras": "lambda.keras: holds a Lambda layer, which is code and is not run;",
    "bench damaged_saved": "damaged_saved: not a SavedModel (OSError: Cannot parse file",
    "bench text.txt": "text.txt: not a .keras or .h5 file; save one with model.save('model.keras')",
    "diagnose lambda.keras": "lambda.keras: holds a Lambda layer, which is code and is not run;",
    "diagnose broken.py:A": "broken.py fails when it is run: ZeroDivisionError: division by zero;",
    "diagnose case.py:A": "case.py has no A; its layer classes are none",
    "diagnose good.tflite": "good.tflite: expected a layer, a layer class, a model,",
    "report none": "none is not a run directory; run kopt run first",
    "report folder": "folder has no finished stage; run kopt run first",
    "run case.py:number": "case: 'number' in case.py is int; expected a kopt.Case",
    "run broken.py:case": "broken.py fails when it is run: ZeroDivisionError: division by zero;",
    "run --run-dir text.txt": "text.txt is a file; expected a run directory",
    f"run {OWN} none.keras --data good.npz": "none.keras: no such file; expected a .keras",
    f"run {OWN} only.weights.h5 --data good.npz": "only.weights.h5: holds weights only;",
    f"run {OWN} text.txt --data good.npz": "text.txt: expected a .keras or .h5 file, as model.save",
    f"run {OWN} one.keras --data good.npz --task sorting": "task: saw 'sorting'; expected",
    f"run {OWN} one.keras --data good.npz --task tagging": "tagging: not for outputs of shape (1,)",
    f"run {OWN} good.keras --data good.npz --budget 3%": "so give its loss as in '0.5 points'",
    f"run {OWN} auto.keras --data good.npz": "auto.keras: returns its inputs, as an autoencoder",
    f"run {OWN} many.keras --data good.npz": "many.keras: 640 outputs for 2 classes, and the right",
    "run signal --import my_layers": "--import goes with --model; a FILE.py imports what it needs",
    f"run {OWN} good.keras --data good.npz --import none": "module none cannot be imported: Module",
    f"convert good.keras {INT8} good.npz --import none": "module none cannot be imported:",
    "bench good.tflite --samples none.npz": "none.npz: no such file; expected an .npz with",
    "bench two.keras --samples good.npz": "samples for 1 input(s); the inputs are a, b",
    f"convert good.keras {INT8} labels.npz": "labels.npz: has arrays y_train; expected x_train,",
    f"convert good.keras {INT8} lfs.npz": "lfs.npz: a Git LFS pointer, not the arrays; fetch them",
    f"convert lfs.h5 {FLOAT}": "lfs.h5: a Git LFS pointer, not the model itself; fetch it with",
    "bench lfs.tflite": "lfs.tflite: a Git LFS pointer, not the file itself; fetch it with",
    f"run {OWN} tflite.keras --data good.npz": "tflite.keras: already a .tflite; expected the",
    f"run {OWN} lambda.keras --data good.npz": "lambda.keras: holds a Lambda layer, which is code",
    f"run {OWN} unregistered.keras --data good.npz": "Keras does not know class 'Unregistered';",
    f"run {OWN} nan.keras --data good.npz": "conv/kernel holds NaN or Inf; retrain plain",
    f"run {OWN} good.keras --data none.npz": "none.npz: no such file; expected an .npz with",
    f"run {OWN} good.keras --data pickle.npz": "pickle.npz: not a readable .npz (no archive of",
    f"run {OWN} good.keras --data count.npz": "count.npz: y_test has shape (5,); expected (40,",
    f"run {OWN} good.keras --data shape.npz": "samples of shape (8, 2); expected (16, 2)",
    f"run {OWN} good.keras --data high.npz": "labels run from 0 to 7, for 2 outputs",
    f"run {OWN} two.keras --data good.npz": "has 2 inputs: samples for 1 input(s);",
    # tasks, labels and parts
    f"run {OWN} good.keras --data floats.npz": "(classification: needs integer class indices, not",
    f"run {OWN} good.keras --data negative.npz": "labels run from -1 to 0, for 2 outputs",
    f"run {OWN} good.keras --data words.npz": "words.npz: y_train has dtype <U1; expected numbers",
    f"run {OWN} good.keras --data unlabelled.npz": "no labels, and outputs of shape (2,) for",
    f"run {OWN} good.keras --data good.npz --task regression": "needs labels of shape (2,) a",
    f"run {OWN} one.keras --data good.npz --task reconstruction": "reconstruction: needs no labels",
    f"run {OWN} one.keras --data nan_target.npz": "y_train holds NaN or Inf in 20 of 40 labels",
    f"run {OWN} one.keras --data numbers.npz --budget 1point": "so give its loss as in '3 %'",
    f"run {OWN} good.keras --data good.npz --budget 3kg": "budget: saw '3kg'; expected limits such",
    f"run {OWN} good.keras --data one_class.npz": "one_class.npz: y_train holds only 0; a model",
    f"run {OWN} good.keras --data one_tested.npz": "one_tested.npz: y_test holds only 0; a",
    f"run {OWN} good.keras --data one_chosen_by.npz": "one_chosen_by.npz: y_val holds only 0; a",
    f"run {OWN} good.keras --data length.npz": "y_train has shape (7,); expected (40, ...), a",
    f"run {OWN} good.keras --data named.npz": "named.npz: has both x_train and x_train/a;",
    f"run {OWN} good.keras --data structure.npz": "x_train has a and x_test one array; both must",
    f"run {OWN} good.keras --data no_validation.npz": "x_val has shape (0, 16, 2); expected",
    f"run {OWN} good.keras --data half_validation.npz": "x_val and y_val go together; give both",
    f"run {OWN} good.keras --data one_group.npz": "no group can be spared to validate on; give",
    # folders of .npy
    f"run {OWN} good.keras --data none": "none: no such file; expected an .npz with",
    f"run {OWN} good.keras --data folder": "folder: has arrays (none); x_train, x_test missing of",
    f"run {OWN} good.keras --data missing": "x_train, y_test, y_train; x_test missing of x_train",
    f"run {OWN} good.keras --data unlike_lengths": "y_train has shape (7,); expected (40, ...), a",
    f"run {OWN} good.keras --data cut_off": "x_test.npy: not a readable .npy of a plain array (",
    f"run {OWN} good.keras --data mapped_objects": "x_train.npy: not a readable .npy of a plain",
    f"run {OWN} good.keras": "expected CASE, or --model and --data together",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_answers_in_a_line_with_exit_code_2_and_leaves_all_as_it_was(
    command, folder, capsys
):
    before = contents(folder)
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.err.startswith("kopt: ")
    assert COMMANDS[command] in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""
    assert contents(folder) == before


def sample(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


X, Y = sample(20, 16, 2), np.arange(20) % 2
CALLS = {
    "lists for arrays": (lambda: Data([1], [2], [3], [4]), DataError, "x_train is a list; exp"),
    "a set of none": (lambda: Data(X[:0], Y[:0], X, Y), DataError, r"x_train has shape \(0, 16"),
    "a directory to load": (lambda: Data.load("folder"), DataError, "folder: has arrays"),
    "a number to convert": (lambda: kopt.convert(3, "a.tflite"), ConversionError, "builtins.int"),
    "a class to convert": (
        lambda: kopt.convert(keras.Model, "a.tflite", "float32"),
        ConversionError,
        "cannot convert a builtins.type; expected a Keras 3 model",
    ),
    "a layer to convert": (
        lambda: kopt.convert(layers.Dense(2), "a.tflite", "float32"),
        ConversionError,
        "cannot convert a keras.*Dense; expected a Keras 3 model",
    ),
    "an unbuilt model": (
        lambda: kopt.convert(keras.Sequential([layers.Dense(2)]), "a.tflite", "float32"),
        ConversionError,
        "is not built; call it on a sample",
    ),
    "an unknown mode": (
        lambda: kopt.convert(plain_model(), "a.tflite", "int4"),
        ParameterError,
        "mode 'int4'; expected one of float32",
    ),
    "a layer that is not there": (
        lambda: kopt.convert(plain_model(), "a.tflite", "int8", X, keep_float=["stem"]),
        ParameterError,
        "keep_float names stem; the layers are .*conv",
    ),
    "a place of no ending": (
        lambda: kopt.convert(plain_model(), "text.txt", "float32"),
        ParameterError,
        "text.txt: expected a name that ends in .tflite",
    ),
    "a SavedModel over a file": (
        lambda: save_model(plain_model(), Path("text.txt").with_suffix("") / "a", X),
        ParameterError,
        "text: no such directory; create it first",
    ),
    "strings to compare on": (
        lambda: save_model(plain_model(), "a.keras", X.astype(str)),
        DataError,
        "samples of x are ndarray of dtype <U32; expected an array of numbers",
    ),
    "a directory for a .keras": (lambda: load_keras("saved"), ModelError, "saved is a directory"),
    "no targets": (lambda: kopt.compare_latency({}, X[:1]), MeasurementError, "no targets"),
    "a number to time": (
        lambda: kopt.compare_latency({"a": 3}, X[:1]),
        MeasurementError,
        "cannot run a int; expected a callable, a Keras model or a path",
    ),
    "an unknown reference": (
        lambda: kopt.compare_latency({"a": "good.tflite"}, X[:1], reference="b"),
        MeasurementError,
        "reference 'b' is not among a",
    ),
    "a sample of another shape": (
        lambda: kopt.compare_latency({"a": "good.tflite"}, X[:1, :8]),
        DataError,
        r"input x has shape \(1, 8, 2\); expected \(16, 2\)",
    ),
    "labels of another count": (
        lambda: kopt.evaluate("good.tflite", X, Y[:5]),
        DataError,
        r"20 samples and labels of shape \(5,\); expected a label for each sample",
    ),
    "operators of a .keras": (
        lambda: kopt.profile_operators("good.keras"),
        ModelError,
        "good.keras: not a .tflite",
    ),
    "a shape with a hole": (
        lambda: kopt.check_equivalence(layers.Dense(2), layers.Dense(2), (None, 2)),
        EquivalenceError,
        r"input_shape is \(None, 2\); expected the shape of one sample",
    ),
    "a number to diagnose": (lambda: kopt.diagnose(3), ModelError, "3 is a int; expected a layer"),
}


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_raises_one_line_and_leaves_all_as_it_was(kind, folder):
    call, error, message = CALLS[kind]
    before = contents(folder)
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, KoptError)
    assert "\n" not in str(caught.value)
    assert contents(folder) == before


@pytest.fixture
def weights_without_memory():
    """Weights that are made here have a shape and no values."""
    with keras.StatelessScope(initialize_variables=False):
        yield
    # Otherwise the next model built anywhere would give them values: 10 GB for this one.
    keras.utils.clear_session()


@pytest.mark.usefixtures("weights_without_memory")
def test_a_model_over_2_gb_is_refused_from_the_shapes_of_its_weights(folder):
    model = keras.Sequential(
        [keras.Input((40_000,)), layers.Dense(20_000, name="wide")], name="huge"
    )
    for refused in (
        lambda: kopt.convert(model, "a.tflite", "float32"),
        lambda: save_model(model, "a.onnx"),
    ):
        with pytest.raises(ConversionError, match=r"huge has 3\.0 GB .* under 2 GB; remove"):
            refused()


def test_a_saved_model_over_2_gb_is_refused_before_it_is_read(tmp_path):
    shutil.copytree("saved", tmp_path / "saved")
    variables = tmp_path / "saved" / "variables" / "variables.data-00000-of-00001"
    with variables.open("ab") as file:
        file.truncate(3 * 2**30)  # a sparse file, which takes no space
    with pytest.raises(ConversionError, match=r"saved has 3\.0 GB of float32 weights"):
        kopt.convert(tmp_path / "saved", tmp_path / "a.tflite", "float32")


def test_without_the_extra_onnx_is_refused_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setattr(formats, "ONNX_EXTRA", ("tf2onnx", "no_such_runtime"))
    with pytest.raises(ConversionError, match=r"needs no_such_runtime; .* uv sync --extra onnx"):
        save_model(plain_model(), "a.onnx")


def test_names_with_spaces_and_letters_of_other_alphabets_work(folder, tmp_path, capsys):
    place = tmp_path / "Prüfstand № 1 – слой"
    place.mkdir()
    model, data = place / "mein modell ä.keras", place / "daten 数.npz"
    shutil.copy("good.keras", model)
    shutil.copy("good.npz", data)
    outputs = [place / name for name in ("größe 1.tflite", "größe 1.onnx", "größe 1.h5", "serv é")]
    commands = [["convert", model, "-o", output, "--data", data] for output in outputs]
    commands += [["bench", outputs[0], model, outputs[3]]]
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, command)))
        printed = capsys.readouterr()
        assert not ended.value.code, printed.err
        assert str(command[-1] if command[0] == "bench" else command[3]) in printed.out
    assert {path.name for path in place.iterdir()} == {
        path.name for path in (model, data, *outputs)
    }


def test_the_table_is_as_long_as_it_should_be():
    assert len(COMMANDS) + len(CALLS) > 100
    assert NOTEBOOKS.is_dir()
