"""The records of one message on its way, and the pure functions over them."""
