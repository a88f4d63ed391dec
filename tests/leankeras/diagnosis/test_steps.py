"""How often loops step, and what each step makes, recorded while Python runs."""

import pytest
import tensorflow as tf

from leankeras.diagnosis.steps import Log

CODE = """
import tensorflow as tf


def op(count=1):
    for _ in range(count):
        tf.constant(1.0)


def nested():
    for a in range(2):
        op()
        for b in range(3):
            op(2)
    op(7)


def left():
    for a in range(4):
        for b in range(9):
            op()
            if b == 1:
                break
        op(3)
    op(9)


def comprehended():
    first = [op() for _ in range(4)]
    return first + [
        op(2)
        for a in range(2)
        for b in range(2)
    ]


def generated():
    total = list(
        op(2) for _ in range(3)
    )
    op()
    return total


def raised():
    try:
        for a in range(3):
            op()
            raise ValueError
    except ValueError:
        op(5)


def long():
    for a in range(2):
        LINES
    op(4)


def empty():
    for a in ():
        op()
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    path = tmp_path_factory.mktemp("steps") / "loops.py"
    path.write_text(CODE.replace("LINES", "op(); " * 60))  # further than one byte can jump
    names = {"__name__": "loops"}
    exec(compile(path.read_text(), str(path), "exec"), names)
    return str(path), names


def record(module, name) -> tuple[Log, dict[int, list[list[int]]]]:
    path, names = module
    log = Log(frozenset([path]))
    with tf.Graph().as_default(), log.recording():
        names[name]()
    skipped = names["op"].__code__.co_firstlineno + 1  # the loop of op itself
    found = {}
    for (_, line, _), runs in sorted(log.runs.items()):
        if line != skipped:
            found[line] = [[len(step) for step in run.steps] for run in runs]
    return log, found


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("nested", [[[7, 7]], [[2, 2, 2], [2, 2, 2]]]),
        ("left", [[[5, 5, 5, 5]], [[1, 1]] * 4]),
        ("generated", [[[2, 2, 2]]]),
        ("long", [[[60, 60]]]),
        ("empty", []),
    ],
)
def test_each_run_has_its_steps(module, name, steps):
    _, found = record(module, name)
    assert list(found.values()) == steps


def test_a_comprehension_steps_as_a_loop_does(module):
    _, found = record(module, "comprehended")
    first, *rest = found.values()
    assert first == [[1, 1, 1, 1]]
    assert [2, 2] in rest[-1]  # the inner one of two, which may be on the outer one's line


def test_a_loop_that_raises_ends_where_it_does(module):
    _, found = record(module, "raised")
    assert list(found.values()) == [[[1]]]


def test_lines_are_told_apart_from_lines_that_did_not_run(module):
    path, names = module
    log, _ = record(module, "nested")
    first = names["nested"].__code__.co_firstlineno
    assert log.visits[path, first + 4] == 6
    assert log.ran(path, first + 1, first + 1)
    assert not log.ran(path, names["left"].__code__.co_firstlineno, 40)


def test_nothing_is_left_behind(module):
    import sys

    before = sys.gettrace()
    record(module, "nested")
    assert sys.gettrace() is before
    if sys.version_info >= (3, 12):
        assert all(sys.monitoring.get_tool(n) != "leankeras" for n in range(6))
