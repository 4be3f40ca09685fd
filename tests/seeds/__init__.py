"""What the documentation has promised from the first day: its snippets run, its names are there."""
