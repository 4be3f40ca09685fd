"""For RoomKit authors: mocks, contract suites, simulators, virtual time."""
