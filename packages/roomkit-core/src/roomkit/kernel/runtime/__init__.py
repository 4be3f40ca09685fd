"""What all work stands on: tasks, deadlines, the lease, the context of a call, traces, framework events."""
