"""WebSocket channel for RoomKit: live connections, streaming, resume."""
