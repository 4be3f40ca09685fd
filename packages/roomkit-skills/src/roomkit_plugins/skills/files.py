"""Files of a skill: only its own, only plain ones, only so large.

A name comes from a model. It is one entry of one folder of the skill, spelt as it is there; nothing on the
way to it is a link. So no path leaves the skill, however it is written.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from roomkit_plugins.skills.errors import SkillNotFoundError, SkillValidationError

__all__ = ["MAX_FILE_BYTES", "entries", "named", "read_text"]

MAX_FILE_BYTES = 262_144
"""The largest file of a skill that is read."""
MAX_ENTRIES = 1000


def entries(root: Path, folder: str) -> list[str]:
    """Return the plain files of a folder of the skill, sorted; none if there is no such folder."""
    place = root / folder
    if not _is_real(place) or not place.is_dir():
        return []
    names = sorted(each.name for each in os.scandir(place) if each.is_file(follow_symlinks=False))
    if len(names) > MAX_ENTRIES:
        raise SkillValidationError(f"{place} has {len(names)} files; a skill has at most {MAX_ENTRIES}")
    return names


def named(root: Path, folder: str, name: str) -> Path:
    """Return the path of the file `name` of a folder. Raises SkillNotFoundError if it is not there."""
    known = entries(root, folder)
    if name not in known:
        raise SkillNotFoundError(f"there is no file {name!r:.100} in {folder}; there are: {_shown(known)}")
    return root / folder / name


def read_text(path: Path) -> str:
    """Return a file's text. Raises SkillValidationError for one that is not plain text of bounded size."""
    if not _is_real(path):
        raise SkillValidationError(f"{path} is or lies behind a symbolic link; put the file itself there")
    # A pipe in the file's place would wait for a writer.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise SkillValidationError(f"{path} is not a plain file")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise SkillValidationError(f"{path} is larger than {MAX_FILE_BYTES} bytes; split it")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SkillValidationError(f"{path} is not text in UTF-8: {error.reason}") from error


def _is_real(path: Path) -> bool:
    """Return whether nothing in a path below its resolved root is a link, or spelt otherwise."""
    try:
        return path.resolve(strict=True) == path
    except (OSError, ValueError, RuntimeError):
        return False


def _shown(names: list[str]) -> str:
    return ", ".join(names[:50]) or "none"
