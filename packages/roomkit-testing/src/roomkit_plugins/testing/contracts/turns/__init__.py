"""The contract of turn executors, by what the tests are about. `TurnExecutorContract` is all of them."""
