"""What keeps the tree in shape: the generator of public names, and small validators."""
