"""Rooms that meet: two become one, one becomes two, channels move between them."""
