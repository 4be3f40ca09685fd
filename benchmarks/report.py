"""What a scenario found: figures against floors and aims, and curves of what grows."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = ["HEADING", "Curve", "Effort", "Figure", "Findings", "as_json", "as_table"]

_NAME = 60
HEADING = f"{'':<{_NAME}}  {'x floor':>8}  {'value':>12}  {'floor':>12}  {'aim':>12}  reached"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure. `quick` only proves that everything runs; `share` is the part of the rounds."""

    quick: bool = False
    share: float = 1.0

    def rounds(self, wanted: int) -> int:
        """Return how many rounds to measure."""
        return 1 if self.quick else max(2, round(wanted * self.share))

    def items(self, wanted: int) -> int:
        """Return how many items a round has."""
        return max(1, wanted // 100) if self.quick else wanted

    def sizes(self, *wanted: int) -> list[int]:
        """Return the sizes of what grows."""
        return [size for size in wanted if size <= 10] or [wanted[0]] if self.quick else list(wanted)


@dataclass(frozen=True, slots=True)
class Figure:
    """One result. `floor` is the hand-written least, `aim` the most it should be, in the same unit."""

    name: str
    value: float
    unit: str = "µs"
    floor: float | None = None
    aim: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the floor it is."""
        return self.value / self.floor if self.floor else None

    @property
    def reached(self) -> bool | None:
        """Whether the aim is reached; None without one."""
        return self.value <= self.aim if self.aim is not None else None


@dataclass(frozen=True, slots=True)
class Curve:
    """How something grows: lines of (size, value) points. `log` axes where sizes span decades."""

    name: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]
    log: bool = True


@dataclass(slots=True)
class Findings:
    """Everything a scenario found."""

    figures: list[Figure] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)


def as_table(figures: Sequence[Figure]) -> Iterable[str]:
    """Yield the lines of the table below `HEADING`; ratios first, because only they outlive the machine."""
    for figure in figures:
        ratio = f"{figure.ratio:8.2f}" if figure.ratio is not None else f"{'':>8}"
        floor = _quantity(figure.floor, figure.unit)
        value, aim = _quantity(figure.value, figure.unit), _quantity(figure.aim, figure.unit)
        reached = {True: "yes", False: "NO", None: ""}[figure.reached]
        yield f"{figure.name:<{_NAME}}  {ratio}  {value:>12}  {floor:>12}  {aim:>12}  {reached}"


def _quantity(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} {unit}" if abs(value) >= 1000 else f"{value:.2f} {unit}"


def as_json(findings: dict[str, Findings]) -> str:
    """Return all findings, and what they were measured on, as JSON."""
    return json.dumps(
        {"machine": _machine(), "scenarios": _scenarios(findings)}, indent=1, ensure_ascii=False
    )


def _machine() -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "implementation": platform.python_implementation(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
    }


def _scenarios(findings: dict[str, Findings]) -> dict[str, Any]:
    return {
        name: {
            "figures": [
                {**asdict(figure), "ratio": figure.ratio, "reached": figure.reached}
                for figure in found.figures
            ],
            "curves": [asdict(curve) for curve in found.curves],
        }
        for name, found in findings.items()
    }
