"""OpenAI and OpenAI-compatible servers (vLLM) as AI providers for RoomKit."""
