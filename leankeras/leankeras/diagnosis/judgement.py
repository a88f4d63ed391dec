"""Findings from reading a layer and from running it, combined.

Severity follows what was observed: an observed fault that the source explains is reported at that
place in the source, as an error; a suspicion that the trial disproved is dropped, and so is one
about a line that did not run.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import keras

from leankeras.diagnosis.finding import Finding
from leankeras.diagnosis.loops import Loop, read_loops
from leankeras.diagnosis.mergeable import advice, forecasts
from leankeras.diagnosis.rules import RULES, Rule
from leankeras.diagnosis.source import LayerSource, Reading, unread_call, where
from leankeras.diagnosis.target import Target
from leankeras.diagnosis.traced_loops import SHORT_LOOP, TracedLoop, trace_loop
from leankeras.diagnosis.trial import Fault, Trial
from leankeras.graph import flat_layers

BY_LOOP = {rule.over: rule for rule in RULES.values() if rule.over}


@dataclass
class Suspicion:
    """A rule that a layer seems to break, with all the places where it does so in the same way.

    Args:
        rule: the rule.
        readings: the readings, at least one.
        message: what was seen.
        severity: the severity if nothing was observed.
        observed: the faults that it explains.
        fix: what to do, if not what the rule says.
    """

    rule: Rule
    readings: list[Reading]
    message: str
    severity: str
    observed: list[Fault] = field(default_factory=list)
    fix: str = ""

    def explains(self, fault: Fault) -> bool:
        """Whether it causes a fault, judging by the fault's message and its lines, if any."""
        pattern = self.rule.confirmed_by.get(fault.rule)
        if pattern is None or not re.search(pattern, fault.message):
            return False
        return not fault.places or any(
            path == one.path and one.span[0] <= line <= one.span[1]
            for path, line in fault.places
            for one in self.readings
        )

    def finding(self) -> Finding:
        """The finding for this suspicion."""
        severity = self.severity
        if any(_severity(fault) == "error" for fault in self.observed):
            severity = "error"
        message = "; ".join(
            [self.message, *dict.fromkeys(fault.message for fault in self.observed)]
        )
        lines = tuple(sorted({one.line for one in self.readings} - {0}))
        place = where(self.readings[0].path, lines[0] if lines else 0)
        return _finding(self.rule.name, severity, message, place, lines, self.fix)


def judge(found: Target, sources: list[LayerSource], trial: Trial | None) -> Iterator[Finding]:
    """The findings on a target.

    Args:
        found: the target.
        sources: the user's classes in it.
        trial: the results of running it; None if it was only read.
    """
    if trial is None:
        reason = found.untried or "no input_shape was given"
        yield _finding("not-tried", "info", reason, found.cls.__name__)
    for layer in sources:
        author = unread_call(layer)
        if author:
            message = f"the source of {author.__name__}.call cannot be read"
            yield _finding("no-source", "info", message, layer.cls.__name__)
    suspicions = [*_read(sources, trial), *_lambdas(found, trial), *_loops(sources, trial)]
    suspicions = [one for one in suspicions if not _is_withdrawn(one, trial)]
    suspicions += _observed(trial)
    for fault in trial.faults if trial else ():
        causes = [one for one in suspicions if one.explains(fault)]
        for cause in causes:
            cause.observed.append(fault)
        if not causes and not _is_cause(fault):
            place = where(*fault.places[-1]) if fault.places else found.name
            yield _finding(fault.rule, _severity(fault), fault.message, place)
    for one in suspicions:
        yield one.finding()


def _is_cause(fault: Fault) -> bool:
    """Whether a fault shows only in a trial and explains others."""
    rule = RULES[fault.rule]
    return bool(rule.confirmed_by) and rule.reads is None


def _severity(fault: Fault) -> str:
    """The severity of an observed fault: an error, unless its rule covers only observed faults."""
    rule = RULES[fault.rule]
    return "error" if rule.reads or rule.over else rule.severity


def _is_withdrawn(one: Suspicion, trial: Trial | None) -> bool:
    if trial is None or one.rule.withdrawn is None:
        return False
    return all(one.rule.withdrawn(reading, trial) for reading in one.readings)


def _read(sources: list[LayerSource], trial: Trial | None) -> Iterator[Suspicion]:
    """The readings of all rules, one suspicion for each subject."""
    found: dict[tuple[str, str, str], Suspicion] = {}
    for rule in RULES.values():
        for layer in sources if rule.reads else ():
            for one in rule.reads(layer):
                if trial and one.in_call and not trial.ran(one.path, one.span):
                    continue
                key = (rule.name, one.path, one.subject)
                if key in found:
                    found[key].readings.append(one)
                else:
                    message = f"{rule.summary}: {one.code}"
                    found[key] = Suspicion(rule, [one], message, rule.severity)
    for suspicion in found.values():
        lines = sorted({one.line for one in suspicion.readings})
        if len(lines) > 1:
            suspicion.message += f" (lines {', '.join(map(str, lines))})"
        yield suspicion


def _lambdas(found: Target, trial: Trial | None) -> Iterator[Suspicion]:
    """The Lambda layers, one suspicion for each function."""
    users: dict[object, list[keras.layers.Lambda]] = {}
    for layer in flat_layers(found.layer) if found.layer else ():
        if isinstance(layer, keras.layers.Lambda):
            function = getattr(layer.function, "__code__", layer.function)
            users.setdefault(function, []).append(layer)
    rule = RULES["lambda-layer"]
    for layers in users.values():
        names = ", ".join(dict.fromkeys(layer.name for layer in layers))
        name = layers[0].function.__name__
        message = f"a Lambda layer around the Python function {name}"
        # In a user's layer it may be harmless, which only a trial shows.
        severity = rule.severity if trial else "warning"
        yield Suspicion(rule, [Reading(names, 0, name, name, (0, 0))], message, severity)


def _loops(sources: list[LayerSource], trial: Trial | None) -> Iterator[Suspicion]:
    """The loops, by what they run over: as traced, otherwise as written."""
    loops = {loop.positions: loop for layer in sources for loop in read_loops(layer)}
    traced = {key: trace_loop(trial, loop) for key, loop in loops.items()} if trial else {}
    over = {
        key: traced[key].over if traced.get(key) else _guess(loop, trial)
        for key, loop in loops.items()
    }
    outlooks = forecasts(trial) if trial and any(over.values()) else []
    for key, loop in loops.items():
        around = {over[outer.positions] for outer in loop.around} - {None}
        if over[key] is None or over[key] in around:
            continue
        inner = [
            traced[other]
            for other, part in loops.items()
            if traced.get(other) and over[other] == over[key] and loop in (part, *part.around)
        ]
        found = _loop(BY_LOOP[over[key]], loop, traced.get(key), inner)
        # A short loop is reported with the loop around it.
        short = found.severity == "info" and over[key] != "recurrence"
        if not (around and short):
            found.fix = advice(loop, outlooks, found.rule.fix)
            yield found


def _guess(loop: Loop, trial: Trial | None) -> str | None:
    """What a loop runs over if no graph shows it; None if the loop does not run."""
    ran = trial is None or trial.ran(loop.path, (loop.line, loop.line))
    return loop.over if ran else None


def _loop(rule: Rule, loop: Loop, traced: TracedLoop | None, nest: list[TracedLoop]) -> Suspicion:
    """The suspicion for a loop, including the loops in it that run over the same thing."""
    one = Reading(loop.path, loop.line, loop.code, loop.code, (loop.line, loop.last), True)
    severity, message = rule.severity, f"{rule.summary}: {loop.code}"
    if traced:
        steps = max(part.steps for part in nest)
        runs = f" in {traced.runs} runs" if traced.runs > 1 else ""
        nodes = f"{traced.nodes} of {traced.of_nodes} graph nodes"
        along = f", {traced.along}" if traced.along else ""
        message += f"; {steps} steps{runs}, {nodes}{along}"
        if traced.is_constant:
            message += "; it depends on no input, so a .tflite holds only its result"
        if traced.is_constant or (steps / traced.runs <= SHORT_LOOP and traced.over != "batch"):
            severity = "info"
    return Suspicion(rule, [one], message, severity)


def _observed(trial: Trial | None) -> Iterator[Suspicion]:
    for fault in filter(_is_cause, trial.faults if trial else ()):
        path, line = fault.places[-1] if fault.places else (trial.layer.name, 0)
        one = Reading(path, line, "", "", (line, line))
        rule = RULES[fault.rule]
        yield Suspicion(rule, [one], f"{rule.summary}: {fault.message}", rule.severity)


def _finding(
    rule: str, severity: str, message: str, place: str, lines: tuple[int, ...] = (), fix: str = ""
) -> Finding:
    text = f"{message[0].upper()}{message[1:].rstrip('.')}. {RULES[rule].why}"
    return Finding(rule, severity, text, place, fix or RULES[rule].fix, lines)
