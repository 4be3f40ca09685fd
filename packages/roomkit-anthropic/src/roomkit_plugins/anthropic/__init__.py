"""Anthropic Claude as an AI provider for RoomKit."""
