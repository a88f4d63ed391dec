"""TFLite Micro's own interpreter, in a process that it may crash; see :mod:`leankeras.child`."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from leankeras.devices.trial import difference

ARENA = 64 << 20  # room enough to find out how much is needed
LACKING = re.compile(r"Didn't find op for builtin opcode '(\w+)'|custom opcode '(\w+)'")
TOTAL = re.compile(r"Arena allocation total (\d+) bytes")
STAND_IN = schema.BuiltinOperator.RELU  # an operator without options, which exists there
DEPRECATED_CODE, CODE = 4, 10  # where the schema keeps an operator code's fields


def run(file: str, vectors: str) -> dict:
    """Run a file on vectors that :class:`leankeras.devices.vectors.Vectors` saved.

    Returns:
        ``lacking``, the kinds of operators that do not exist there; if there are none, ``arena``
        in bytes and ``differences`` by tensor index, as :mod:`leankeras.devices.trial` has them.
    """
    from tflite_micro.python.tflite_micro.runtime import Interpreter

    content = bytearray(Path(file).read_bytes())
    lacking = list(_lacking(Interpreter, content))
    if lacking:
        return {"lacking": lacking}
    with np.load(vectors, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    inputs, expected = (
        {key: array for key, array in arrays.items() if key.startswith(side)}
        for side in ("input_", "output_")
    )
    with _complaints() as said:
        interpreter = Interpreter.from_bytes(bytes(content), arena_size=ARENA)
        outputs = {key: [] for key in expected}
        for sample in range(len(next(iter(inputs.values())))):
            interpreter.reset()
            for place, array in enumerate(inputs.values()):
                interpreter.set_input(array[sample : sample + 1], place)
            interpreter.invoke()
            for place, runs in enumerate(outputs.values()):
                runs.append(interpreter.get_output(place))
        interpreter.print_allocations()
        text = _text(said)
    return {
        "lacking": [],
        "arena": int(TOTAL.search(text)[1]),
        "differences": {
            key[7:]: difference(expected[key], np.stack(runs).reshape(expected[key].shape))
            for key, runs in outputs.items()
        },
    }


def _lacking(interpreter: type, content: bytearray) -> Iterator[str]:
    """The operators that do not exist, each replaced by one that does to get to the next."""
    content = bytearray(content)
    while True:
        with _complaints() as said:
            # also raised for a stand-in that is given other inputs; the text tells them apart
            with suppress(RuntimeError):
                interpreter.from_bytes(bytes(content), arena_size=ARENA)
            found = LACKING.search(_text(said))
        if not found:
            return
        yield found[1] or found[2]
        if found[2] or not _replace(content, found[1]):
            return


def _replace(content: bytearray, kind: str) -> bool:
    """Change the code of one kind of operator in the file to that of the stand-in."""
    model, number = schema.Model.GetRootAs(content, 0), getattr(schema.BuiltinOperator, kind, None)
    for k in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(k)
        if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) == number:
            table = code._tab
            for field, width in ((DEPRECATED_CODE, 1), (CODE, 4)):
                if offset := table.Offset(field):
                    start = table.Pos + offset
                    content[start : start + width] = STAND_IN.to_bytes(width, "little")
            return True
    return False


@contextmanager
def _complaints() -> Iterator[IO[bytes]]:
    """What C++ writes to standard error in the meantime."""
    real = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield kept
        finally:
            os.dup2(real, 2)
            os.close(real)


def _text(kept: IO[bytes]) -> str:
    kept.seek(0)
    return kept.read().decode(errors="replace")
