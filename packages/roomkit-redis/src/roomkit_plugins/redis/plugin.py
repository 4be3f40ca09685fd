"""Registers what `roomkit-redis` brings; imports nothing but the core."""

from __future__ import annotations
