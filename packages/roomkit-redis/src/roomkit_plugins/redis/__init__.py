"""The redis plugin."""
