from leankeras.conversion import Float32Files


def test_a_model_is_converted_once_for_each_state_of_its_weights(small_model, tmp_path):
    files = Float32Files()
    first = files.of(small_model)
    assert files.of(small_model) == first
    small_model.set_weights([0 * weights for weights in small_model.get_weights()])
    second = files.of(small_model)
    assert first.read_bytes() != second.read_bytes()
    assert files.of(first) == first
    del files
    assert not first.exists()
