"""What writes shipped source, and what it reads the tree with."""
