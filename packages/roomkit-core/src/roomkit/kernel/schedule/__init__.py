"""Later sends: drafts, the times they are due, and their sending."""
