"""How Hypothesis plays the property tests of all packages.

By no wall clock: its default, a deadline of 0.2 s for an example, fails on a machine that does other work.
And by the same examples each time: a suite that passes today passes tomorrow. `nox -s soak` plays others.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("roomkit", deadline=None, derandomize="ROOMKIT_EXAMPLES" not in os.environ)
settings.load_profile("roomkit")
