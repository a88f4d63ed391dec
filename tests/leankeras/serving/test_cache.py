import numpy as np

from leankeras.serving.cache import Cache, hash_of


def batch(value, dtype="float32", shape=(1, 4)):
    return {"x": np.full(shape, value, dtype)}


def test_the_same_values_have_the_same_hash_and_others_another():
    assert hash_of(batch(1)) == hash_of(batch(1))
    others = [
        batch(2),
        batch(1, shape=(4, 1)),
        {"y": batch(1)["x"]},
        batch(1) | {"y": batch(1)["x"]},
    ]
    assert len({hash_of(each) for each in [batch(1), *others]}) == 5


def test_the_answer_that_was_not_asked_for_longest_makes_room():
    cache = Cache(2)
    for key in (b"a", b"b"):
        cache[key] = batch(key[0])
    assert cache.get(b"a")["x"][0, 0] == ord("a")
    cache[b"c"] = batch(3)
    assert len(cache) == 2
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None


def test_an_answer_is_kept_without_the_batch_it_was_part_of():
    whole = {"y": np.arange(12.0).reshape(6, 2)}
    cache = Cache(1)
    cache[b"a"] = {"y": whole["y"][2:3]}
    whole["y"][:] = 0
    assert cache.get(b"a")["y"].tolist() == [[4, 5]]
    assert cache.get(b"a")["y"].base is None
