"""How a plugin is written and found."""

import pluggy

hookimpl = pluggy.HookimplMarker("roomkit")
