"""Each extra that exists installs from the built distributions, and brings the names promised for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Environment, uv
from tools.source import Tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TREE = Tree()
BUILT = {one.name for one in TREE.distributions}
EXTRAS = {name: needs for name, needs in TREE.catalogue["extras"].items() if BUILT.issuperset(needs)}
USUAL = BUILT.intersection(TREE.catalogue["meta"]["includes"])


def promised(distribution: str) -> list[str]:
    """List the public names that a distribution brings today."""
    later = TREE.catalogue["later"].get(distribution, [])
    return [name for name in TREE.catalogue["names"].get(distribution, []) if name not in later]


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_is_promised_for_it(
    fresh: Callable[[], Environment], dist: Path, extra: str
) -> None:
    """Installed alone, by its name, beside an index where another project's `roomkit` is below 1.0."""
    environment = fresh()
    uv(
        *("pip", "install", "--quiet", "--python", environment.python, "--find-links", dist),
        f"roomkit[{extra}]",
        cwd=environment.folder,
    )
    names = [name for one in sorted({*USUAL, *EXTRAS[extra]}) for name in promised(one)]
    assert environment.run(f"from roomkit import {', '.join(names)}\nprint({names[-1]}.__name__)")


def test_the_extra_all_brings_every_extra(fresh: Callable[[], Environment], dist: Path) -> None:
    """All of them fit into one environment."""
    environment = fresh()
    uv(
        *("pip", "install", "--quiet", "--python", environment.python, "--find-links", dist),
        "roomkit[all]",
        cwd=environment.folder,
    )
    needed = {distribution for needs in EXTRAS.values() for distribution in needs}
    names = [name for one in sorted({*USUAL, *needed}) for name in promised(one)]
    assert environment.run(f"from roomkit import {', '.join(names)}\nprint({names[-1]}.__name__)")
