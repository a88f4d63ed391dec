import pytest

from leankeras.errors import DataError, JobError, one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\nfirst\nsecond"), "ValueError: first"),
        (EOFError(), "EOFError"),
        (DataError("x: what was wrong"), "x: what was wrong"),
        (JobError("OSError: in the child\nmore"), "OSError: in the child"),
        (
            TypeError("Exception encountered when calling L.\n\n\x1b[1mreason\x1b[0m"),
            "TypeError: reason",
        ),
    ],
)
def test_an_error_is_one_line(error, line):
    assert one_line(error) == line
