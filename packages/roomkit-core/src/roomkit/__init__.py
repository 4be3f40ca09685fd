"""RoomKit: one conversation over many channels."""

__version__ = "0.1.0"
