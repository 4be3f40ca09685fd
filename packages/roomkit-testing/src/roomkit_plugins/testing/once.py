"""Makes a value once for all processes of a test run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["OncePerRun"]


class OncePerRun:
    """Makes a value in one process, and reads it in the others, which wait for it.

    `folder` is one that all of them see, and that no other run uses.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str, make: Callable[[], object]) -> Any:  # what JSON gives back
        """Return what `make` returned first, as JSON gives it back.

        If it raised, the next caller calls its own. Blocks.
        """
        from fcntl import LOCK_EX, flock  # here, because Windows has none

        made = self._folder / f"{name}.json"
        with made.with_suffix(".lock").open("w") as lock:
            flock(lock, LOCK_EX)
            if not made.exists():
                made.write_text(json.dumps(make()), encoding="utf-8")
            return json.loads(made.read_text(encoding="utf-8"))
