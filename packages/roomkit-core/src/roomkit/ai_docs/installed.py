"""What this installation has: the distributions, and the names and components that each brings."""

from __future__ import annotations

from importlib.metadata import Distribution, distributions

import roomkit
from roomkit._exports import COMPONENTS, HOMES
from roomkit._names import distribution_of

__all__ = ["installed_section"]

_GROUP = "roomkit"
_CORE = "roomkit-core"


def installed_section() -> str:
    """Return a section of Markdown: the core and each plugin that is installed, first-party or not."""
    found = {each.name: each for each in distributions() if each.name == _CORE or _is_plugin(each)}
    lines = [line for name in sorted(found, key=_core_first) for line in _about(found[name])]
    return "\n".join(["## Installed here", "", *lines, ""])


def _core_first(name: str) -> tuple[bool, str]:
    return (name != _CORE, name)


def _is_plugin(distribution: Distribution) -> bool:
    return any(point.group == _GROUP for point in distribution.entry_points)


def _about(distribution: Distribution) -> list[str]:
    name = distribution.name
    summary = distribution.metadata["Summary"] or "no summary"
    components = sorted(each for each, home in COMPONENTS.items() if home == name)
    names = [each for each in dir(roomkit) if each in HOMES and distribution_of(HOMES[each]) == name]
    lines = [f"- `{name}` {distribution.version}: {summary}"]
    if components:
        lines.append(f"  Components: {', '.join(f'`{each}`' for each in components)}.")
    if names and name != _CORE:  # the core's are in the pages
        lines.append(f"  From `roomkit`: {', '.join(f'`{each}`' for each in names)}.")
    return lines
