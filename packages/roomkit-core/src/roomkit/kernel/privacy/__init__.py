"""Data-subject requests: export and erasure, with a receipt."""
