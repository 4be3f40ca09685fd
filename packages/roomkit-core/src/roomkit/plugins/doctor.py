"""The report of `roomkit plugins doctor`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import StrEnum
from importlib.util import find_spec

from roomkit._dataclasses import dataclass
from roomkit.abc.log import traceback_lines

_LINES = 3
"""Of a traceback: the file and line it was raised at, the source line, and the error."""


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
    plugin: str = ""
    """The plugin whose check it is; `subject` is free text."""
    traceback: tuple[str, ...] = ()
    """Where the error behind it was raised, and its last line; empty where no error is."""


class DoctorReport:
    """Collects findings. Given to `roomkit_doctor`."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []  # bound: one run of the doctor
        self._plugin = ""

    def enter(self, plugin: str) -> None:
        """Note whose findings follow. The plugin manager calls it; a plugin's own check does not."""
        self._plugin = plugin

    def ok(self, subject: str, message: str) -> None:
        """Report that something is as it should be."""
        self._findings.append(Finding(Verdict.OK, subject, message, plugin=self._plugin))

    def warn(self, subject: str, message: str, *, next_step: str) -> None:
        """Report that something works, but not as the user may expect."""
        self._findings.append(Finding(Verdict.WARNING, subject, message, next_step, self._plugin))

    def fail(self, subject: str, message: str, *, next_step: str, error: BaseException | None = None) -> None:
        """Report that something cannot work until the user acts; of `error` it shows where it was raised."""
        shown = () if error is None else tuple(traceback_lines(error, texts=True))[-_LINES:]
        self._findings.append(Finding(Verdict.FAILED, subject, message, next_step, self._plugin, shown))

    def extend(self, findings: Iterable[Finding]) -> None:
        """Add findings of another report."""
        self._findings.extend(findings)

    def expect_module(self, subject: str, module: str, *, distribution: str) -> None:
        """Check that the SDK `module` is installed; `distribution` is the plugin that brings it."""
        if find_spec(module) is None:
            self.fail(subject, f"the {module} SDK is not installed", next_step=f"pip install {distribution}")
        else:
            self.ok(subject, f"the {module} SDK is installed")

    def expect_variable(self, subject: str, variable: str, *, next_step: str) -> None:
        """Check that an environment variable is set, and warn when it is not; its value is not shown."""
        if os.environ.get(variable):
            self.ok(subject, f"{variable} is set")
        else:
            self.warn(subject, f"{variable} is not set", next_step=next_step)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything reported, in order."""
        return tuple(self._findings)

    @property
    def healthy(self) -> bool:
        """Whether nothing failed."""
        return not any(finding.verdict is Verdict.FAILED for finding in self._findings)
