"""How a message flows: `inbound` from top to bottom, then `writer`, `lanes` and `cascade`."""
