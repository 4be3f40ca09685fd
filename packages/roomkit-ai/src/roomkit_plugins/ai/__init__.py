"""AI channel for RoomKit: context, tool loop, memory, tool policy."""
