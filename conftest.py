"""What holds for the tests of all packages: how Hypothesis plays, and what coverage keeps."""

from __future__ import annotations

import os
import sys

from hypothesis import settings

# No deadline: Hypothesis's default, 0.2 s for an example, fails on a machine that does other work. And the
# same examples each time: a suite that passes today passes tomorrow. `nox -s soak` plays others.
settings.register_profile("roomkit", deadline=None, derandomize="ROOMKIT_EXAMPLES" not in os.environ)
settings.load_profile("roomkit")


def pytest_sessionfinish() -> None:
    """Save what coverage measured in this process: pytest-xdist kills a worker 10 s after its last test."""
    if "coverage" not in sys.modules:
        return
    from coverage import Coverage

    running = Coverage.current()
    if running is not None:
        running.save()
