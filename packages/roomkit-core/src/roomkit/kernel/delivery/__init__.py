"""From a commit to its recipients: lanes, agents' turns, outcomes, observers."""
