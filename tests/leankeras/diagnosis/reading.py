"""What reading the source alone says about a layer class."""

from leankeras.diagnosis.judgement import judge
from leankeras.diagnosis.source import read_class
from leankeras.diagnosis.target import Target

ABOUT_ALL = {"not-tried", "unregistered"}


def read(cls: type) -> list[str]:
    """The rules that a class seems to break, in the order they are reported."""
    findings = judge(Target(cls.__name__, cls, None), [read_class(cls)], None)
    return [one.rule for one in findings if one.rule not in ABOUT_ALL]
