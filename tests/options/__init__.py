"""Each option of each component does something: one is changed at a time, and a difference is observed."""
