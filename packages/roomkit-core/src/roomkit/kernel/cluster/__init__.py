"""Work shared with other workers: the lease's renewal, reclaimed deliveries, durable timers."""
