"""What workers need, imported once in the process they are forked from."""

import roomkit_plugins.postgres.store
import roomkit_plugins.sqlite.store  # noqa: F401
