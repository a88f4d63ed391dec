"""The result of a diagnosis: findings, worst first, and the facts observed on the way."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing to know before a layer or model is deployed.

    Args:
        rule: name of the rule, from ``docs/diagnosis.md``.
        severity: "error" (it will not deploy, or not as the same function), "warning" (it
            deploys, but slowly or by luck), "info" (a remark).
        message: what was seen, and why it matters for deployment.
        where: ``file:line`` of the source, or the name of the layer or model.
        fix: what to do, with a pattern to follow.
        lines: all lines of that file that it concerns.
    """

    rule: str
    severity: str
    message: str
    where: str
    fix: str
    lines: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """The findings on one target, errors first. Prints well in a terminal and a notebook.

    Args:
        target: name of what was diagnosed.
        findings: errors, then warnings, then remarks.
        observed: figures from running it, such as its number of graph nodes.
    """

    target: str
    findings: tuple[Finding, ...]
    observed: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        in_order = sorted(self.findings, key=lambda finding: SEVERITIES.index(finding.severity))
        object.__setattr__(self, "findings", tuple(in_order))

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are errors."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def summary(self) -> str:
        """The number of findings of each severity, in one line."""
        counts = [
            f"{sum(finding.severity == severity for finding in self.findings)} {severity}"
            for severity in SEVERITIES
        ]
        return f"{self.target}: {', '.join(counts) if self.findings else 'no findings'}"

    @property
    def facts(self) -> str:
        """The observed figures, in one line."""
        return ", ".join(f"{name}: {value}" for name, value in self.observed.items())

    def to_dict(self) -> dict[str, Any]:
        """The whole diagnosis as plain values, for JSON."""
        return {
            "target": self.target,
            "findings": [asdict(finding) for finding in self.findings],
            "observed": dict(self.observed),
        }

    def __repr__(self) -> str:
        lines = [self.summary]
        for finding in self.findings:
            lines.append(f"{finding.severity:<8}{finding.rule}  {finding.where}")
            lines.append(f"        {finding.message}")
            lines.append(f"        Fix: {finding.fix}")
        if self.observed:
            lines.append(f"Observed: {self.facts}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr style='text-align: left; vertical-align: top'>"
            + "".join(
                f"<td style='text-align: left'>{escape(cell)}</td>"
                for cell in (f.severity, f.rule, f.where, f.message, f.fix)
            )
            + "</tr>"
            for f in self.findings
        )
        head = "".join(
            f"<th style='text-align: left'>{name}</th>"
            for name in ("severity", "rule", "where", "what and why", "what to do")
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        return (
            f"<p><b>{escape(self.summary)}</b></p>"
            f"{table if self.findings else ''}"
            f"<p>{escape('Observed: ' + self.facts) if self.observed else ''}</p>"
        )
