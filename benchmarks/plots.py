"""Draws what grows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot

from benchmarks.report import Curve, Findings

__all__ = ["plot"]


def plot(findings: Mapping[str, Findings], folder: Path) -> Iterator[Path]:
    """Write an SVG for each curve and yield where."""
    folder.mkdir(parents=True, exist_ok=True)
    for found in findings.values():
        for curve in found.curves:
            path = folder / f"{curve.name}.svg"
            _draw(curve, path)
            yield path


def _draw(curve: Curve, path: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for name, points in curve.lines.items():
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name)
    if curve.log:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_ylim(bottom=None if curve.log else 0)
    axes.set_xlabel(curve.x)
    axes.set_ylabel(curve.y)
    axes.grid(visible=True, alpha=0.3)
    if len(curve.lines) > 1:
        axes.legend()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
