"""What workers need, imported once in the process they are forked from."""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError):
    pass
