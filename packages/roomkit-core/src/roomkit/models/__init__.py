"""What flows: frozen records and enums, without any I/O."""
