"""The rules of the diagnosis, one row each; ``docs/diagnosis.md`` shows them as a table."""

from leankeras.diagnosis.rules import files, graph, loops, trials, values
from leankeras.diagnosis.rules.rule import Rule

RULES: dict[str, Rule] = {
    rule.name: rule
    for rules in (loops.RULES, graph.RULES, files.RULES, values.RULES, trials.RULES)
    for rule in rules
}
