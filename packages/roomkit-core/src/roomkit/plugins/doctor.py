"""The report of `roomkit plugins doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    verdict: Verdict
    subject: str
    message: str
    next_step: str = ""


class DoctorReport:
    """Collects findings. Given to `roomkit_doctor`."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []  # bound: one run of the doctor

    def ok(self, subject: str, message: str) -> None:
        """Report that something is as it should be."""
        self._findings.append(Finding(Verdict.OK, subject, message))

    def warn(self, subject: str, message: str, *, next_step: str) -> None:
        """Report that something works, but not as the user may expect."""
        self._findings.append(Finding(Verdict.WARNING, subject, message, next_step))

    def fail(self, subject: str, message: str, *, next_step: str) -> None:
        """Report that something cannot work until the user acts."""
        self._findings.append(Finding(Verdict.FAILED, subject, message, next_step))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything reported, in order."""
        return tuple(self._findings)

    @property
    def healthy(self) -> bool:
        """Whether nothing failed."""
        return not any(finding.verdict is Verdict.FAILED for finding in self._findings)
