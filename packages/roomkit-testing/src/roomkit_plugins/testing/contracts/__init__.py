"""Contract suites: one pytest class for each role. Subclass it, give a `factory`, run it."""
