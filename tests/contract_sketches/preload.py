"""What killed workers need, imported once in the process that they are forked from."""

import roomkit.testing
import roomkit_plugins.sqlite.store  # noqa: F401
import tests.contract_sketches.stage  # noqa: F401

roomkit.testing.RecordingChannel  # noqa: B018  # a lazy name is imported when it is read
