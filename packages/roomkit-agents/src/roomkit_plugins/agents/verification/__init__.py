"""Verification of people: the gate before sensitive tools, and codes that they answer on any channel."""
