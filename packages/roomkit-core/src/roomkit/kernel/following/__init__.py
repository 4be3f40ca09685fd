"""Followers of rooms: live things on any worker that are shown what is committed anywhere."""
