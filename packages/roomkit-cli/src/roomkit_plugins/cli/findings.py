"""Findings of checks, as `roomkit check` and `roomkit plugins doctor` show them."""

from __future__ import annotations

from collections.abc import Sequence

from roomkit.plugins.doctor import Finding, Verdict
from roomkit_plugins.cli.main import FAILED, OK
from roomkit_plugins.cli.terminal import Terminal

__all__ = ["show_findings"]

_STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "red"}


def show_findings(terminal: Terminal, findings: Sequence[Finding]) -> int:
    """Show findings after their summary, or as one JSON document; return the exit code."""
    healthy = not any(finding.verdict is Verdict.FAILED for finding in findings)
    if terminal.as_json:
        terminal.document({"healthy": healthy, "findings": [_document(each) for each in findings]})
        return OK if healthy else FAILED
    counts = {verdict: sum(each.verdict is verdict for each in findings) for verdict in Verdict}
    terminal.line(
        f"{'healthy' if healthy else 'not healthy'}: {counts[Verdict.OK]} ok, "
        f"{counts[Verdict.WARNING]} warnings, {counts[Verdict.FAILED]} failed"
    )
    terminal.line()
    width = max((len(each.subject) for each in findings), default=0)
    for each in findings:
        _show(terminal, each, width)
    return OK if healthy else FAILED


def _show(terminal: Terminal, finding: Finding, width: int) -> None:
    verdict = terminal.style(f"{finding.verdict:<8}", _STYLES[finding.verdict])
    terminal.line(f"  {verdict}{finding.subject:<{width}}  {finding.message}")
    for line in finding.traceback:
        terminal.line(f"  {'':8}{'':<{width}}  {line}")
    if finding.next_step:
        terminal.line(f"  {'':8}{'':<{width}}  -> {finding.next_step}")


def _document(finding: Finding) -> dict[str, object]:
    return {
        "verdict": str(finding.verdict),
        "subject": finding.subject,
        "message": finding.message,
        "next_step": finding.next_step,
        "plugin": finding.plugin,
        "traceback": list(finding.traceback),
    }
