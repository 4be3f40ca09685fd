"""Followers of rooms: live things on any worker that see events committed on every worker."""
