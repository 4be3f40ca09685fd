"""What executors of agents' turns share that span processes: the queue's contract, the wire, both sides."""
