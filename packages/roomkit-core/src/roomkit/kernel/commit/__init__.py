"""The one way into a timeline: gates, the write, and the ledger's outcomes that go with it."""
