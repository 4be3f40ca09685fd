"""Registers what `roomkit-postgres` brings; imports nothing but the core."""

from __future__ import annotations
