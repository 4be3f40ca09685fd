"""Eight plugins in small, written against the public contract alone, until real ones take their places."""
