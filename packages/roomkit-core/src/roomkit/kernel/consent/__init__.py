"""Whether people agreed to be written to: kept by address and purpose, judged before each attempt."""
