"""What is sent later: drafts, the times they are due, and their sending."""
