"""What other processes do in the lock tests; nothing here waits for TensorFlow."""

import time

from leankeras.claim import NamedLock
from leankeras.errors import KoptError
from leankeras.files import write_atomically

PATIENCE = 240  # seconds; for a busy machine


def hold(path, name, ready):
    """Hold a lock until killed."""
    lock = NamedLock(path)
    assert lock.acquire(name) is None
    ready.set()
    time.sleep(600)


def write_limited(path, size, told):
    """Write 10 kB where, as on a disk with little room, no file may grow over ``size`` bytes."""
    import resource  # not on Windows

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        write_atomically(path, lambda temporary: temporary.write_bytes(bytes(10_000)))
    except KoptError as error:
        told.put(str(error))
    else:
        told.put("written")
