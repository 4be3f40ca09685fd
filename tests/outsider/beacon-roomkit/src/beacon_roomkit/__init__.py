"""Pagers for RoomKit."""
