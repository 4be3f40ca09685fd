"""Does this core satisfy the `roomkit-core>=A,<B` of a plugin?

PEP 440 versions and specifiers, without epochs and local parts, which the core never uses. The tests
compare it with `packaging`, which the core does not depend on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_VERSION = re.compile(
    r"""v?(?P<release>\d+(?:\.\d+)*)
    (?:[-_.]?(?P<pre>alpha|beta|preview|pre|rc|a|b|c)[-_.]?(?P<pre_n>\d*))?
    (?:[-_.]?(?P<post>post|rev|r)[-_.]?(?P<post_n>\d*)|-(?P<post_dash>\d+))?
    (?:[-_.]?(?P<dev>dev)[-_.]?(?P<dev_n>\d*))?""",
    re.VERBOSE | re.IGNORECASE,
)
_SPECIFIER = re.compile(r"(~=|==|!=|<=|>=|<|>)\s*([^\s,]+)")
_REQUIREMENT = re.compile(
    r"roomkit[-_.]core(?![\w.-])\s*(?:\[[^\]]*\])?\s*\(?(?P<specifiers>[^;)]*)\)?\s*(?:;(?P<marker>.*))?",
    re.IGNORECASE,
)
_PHASES = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}
_FINAL = ("z", 0)  # sorts after a, b and rc
_LAST = 10**9  # sorts after every number


class Version(NamedTuple):
    """A version as a tuple that compares as PEP 440 orders."""

    release: tuple[int, ...]
    pre: tuple[str, int]
    post: int
    dev: int

    @property
    def is_prerelease(self) -> bool:
        """Whether it comes before the final release of its number."""
        return self.pre != _FINAL or self.dev != _LAST


def core_specifiers(requirements: Iterable[str] | None) -> str | None:
    """Find what a distribution's `Requires-Dist` lines say of `roomkit-core`; `None` if nothing."""
    for requirement in requirements or ():
        found = _REQUIREMENT.fullmatch(requirement.strip())
        if found and "extra" not in (found["marker"] or ""):
            return found["specifiers"].strip()
    return None


def satisfies(version: str, specifiers: str) -> bool:
    """Return whether `version` is inside `specifiers`, such as `">=0.1,<0.2"`.

    Raises `ValueError` if either cannot be read.
    """
    parsed = parse(version)
    clauses = [clause for clause in specifiers.split(",") if clause.strip()]
    matches = [_matches(parsed, clause.strip()) for clause in clauses]  # each is read, and so checked
    return all(matches)


def parse(version: str) -> Version:
    """Read a version. Raises `ValueError` if it is not one."""
    found = _read(version)
    release = [int(part) for part in found["release"].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    post = -1
    if found["post"] or found["post_dash"]:
        post = int(found["post_n"] or found["post_dash"] or 0)
    dev = int(found["dev_n"] or 0) if found["dev"] else _LAST
    if found["pre"]:
        phase = found["pre"].lower()
        pre = (_PHASES.get(phase, phase), int(found["pre_n"] or 0))
    elif post == -1 and dev != _LAST:
        pre = ("", 0)  # 1.0.dev1 comes before 1.0a1
    else:
        pre = _FINAL
    return Version(tuple(release), pre, post, dev)


def _read(version: str) -> re.Match[str]:
    found = _VERSION.fullmatch(version.strip())
    if not found:
        raise ValueError(f"{version!r} is not a version")
    return found


def _matches(version: Version, clause: str) -> bool:
    found = _SPECIFIER.fullmatch(clause)
    if not found:
        raise ValueError(f"{clause!r} is not a version specifier")
    operator, text = found.groups()
    if text.endswith(".*") and operator in ("==", "!="):
        return _has_prefix(version, text[:-2]) is (operator == "==")
    bound = parse(text)
    match operator:
        case "==":
            return version == bound
        case "!=":
            return version != bound
        case ">=":
            return version >= bound
        case "<=":
            return version <= bound
        case "<":
            same = version.release == bound.release
            return version < bound and (bound.is_prerelease or not (version.is_prerelease and same))
        case ">":
            same = (version.release, version.pre) == (bound.release, bound.pre)
            return version > bound and (bound.post != -1 or not (version.post != -1 and same))
        case _:
            numbers = _read(text)["release"].split(".")
            if len(numbers) < 2:
                raise ValueError(f"{clause!r} needs at least two numbers")
            return version >= bound and _has_prefix(version, ".".join(numbers[:-1]))


def _has_prefix(version: Version, prefix: str) -> bool:
    wanted = [int(part) for part in prefix.split(".")]
    padded = [*version.release, *[0] * len(wanted)]
    return padded[: len(wanted)] == wanted
