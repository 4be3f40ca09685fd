"""Mocks of every text-side role; each is under the same contract suite as the real ones."""
