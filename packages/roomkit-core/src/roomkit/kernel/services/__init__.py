"""The kit as its owners see it: channels, providers, sources and plugins."""
