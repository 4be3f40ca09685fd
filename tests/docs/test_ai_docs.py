"""What RoomKit tells an AI coding assistant is true of everything that is built."""

from __future__ import annotations

import roomkit
from roomkit import get_ai_context


def test_no_name_is_made_up() -> None:
    """Each `roomkit.X` and each name of the import lines exists."""
    for line in get_ai_context().splitlines():
        if line.startswith("from roomkit import "):
            for name in line.removeprefix("from roomkit import ").split(", "):
                assert name == "X" or hasattr(roomkit, name)
