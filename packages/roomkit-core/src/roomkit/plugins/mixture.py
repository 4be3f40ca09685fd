"""Recognises a foreign distribution whose files are mixed into the core's folder.

A package index holds another project's `roomkit`, which owns the import package `roomkit` as `roomkit-core`
does. If both are installed, each overwrites files of the other, and no installer warns.
Standard library only: in such a folder any other module may be the other project's.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

__all__ = ["mixture"]


def mixture() -> str | None:
    """Describe the foreign `roomkit` in the core's folder and what to do; None if there is none."""
    try:
        found = distribution("roomkit")
    except PackageNotFoundError:
        return None
    if not any(path.parts[0] == "roomkit" for path in found.files or ()):
        return None  # ours, which has no code
    return (
        f"roomkit {found.version}, another project's, is installed in the folder of roomkit-core "
        f"({found.locate_file('roomkit')}), and each overwrote files of the other: run `pip uninstall "
        "-y roomkit roomkit-core`, then install RoomKit again (docs/how-to/install.md)"
    )
