"""Answers kept for requests that come again.

MLServer's own cache is not used: in 1.7.1 its key is the text of the whole request with its id and
HTTP headers, so that two clients never share an answer, and a model's name is not part of it.
"""

from collections import OrderedDict
from hashlib import blake2b

from leankeras.serving.engine import Batch


def hash_of(batch: Batch) -> bytes:
    """A key for the values of a request: the same for the same values, whoever sends them."""
    hashed = blake2b(digest_size=16)
    for name in sorted(batch):
        hashed.update(repr((name, batch[name].shape)).encode())
        hashed.update(batch[name])
    return hashed.digest()


class Cache:
    """The last ``size`` answers that were asked for (LRU).

    Example:
        >>> cache = Cache(1000)
        >>> cache[hash_of(batch)] = answer
        >>> cache.get(hash_of(batch))
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._answers: OrderedDict[bytes, Batch] = OrderedDict()

    def get(self, key: bytes) -> Batch | None:
        """An answer; None if it is not there."""
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def __setitem__(self, key: bytes, answer: Batch) -> None:
        # copies: an answer is a part of its batch, which would be kept whole
        self._answers[key] = {name: array.copy() for name, array in answer.items()}
        self._answers.move_to_end(key)
        if len(self._answers) > self._size:
            self._answers.popitem(last=False)

    def __len__(self) -> int:
        return len(self._answers)
