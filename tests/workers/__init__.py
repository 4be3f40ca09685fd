"""Workers in processes of their own that are killed, paused and cut off, and what must hold all the same."""
