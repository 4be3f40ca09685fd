"""The kernel's parts, built from the ground up: each takes what it uses, and nothing is set afterwards."""
