import pytest

from leankeras.conversion.tflite import convert


@pytest.fixture(scope="session")
def tflite(tmp_path_factory):
    """A file that LiteRT can run."""
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    path = tmp_path_factory.mktemp("model") / "model.tflite"
    return convert(model, path, mode="float32").path.read_bytes()
