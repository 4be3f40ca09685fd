"""Every public name that was promised is there, or says which distribution brings it."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

import roomkit
from roomkit._exports import HOMES
from roomkit._names import distribution_of
from tools.source import ROOT

BUILT = {folder.name for folder in (ROOT / "packages").iterdir() if (folder / "pyproject.toml").is_file()}
CATALOGUE = tomllib.loads(Path(ROOT / "tools/catalogue.toml").read_text(encoding="utf-8"))
LATER = {name for names in CATALOGUE["later"].values() for name in names}


@pytest.mark.parametrize("distribution", sorted({distribution_of(home) for home in HOMES.values()}))
def test_the_names_of_a_distribution(distribution: str) -> None:
    """Of a built one all are there, but for those listed as later; of another each says what to install."""
    for name, home in HOMES.items():
        if distribution_of(home) != distribution:
            continue
        if distribution in BUILT and name not in LATER:
            assert getattr(roomkit, name) is not None
        else:
            assert not hasattr(roomkit, name)
            with pytest.raises(
                ImportError, match=f"comes with {distribution}, which is not installed|not in the"
            ):
                exec(f"from roomkit import {name}")


@pytest.mark.parametrize("module", CATALOGUE["homes"])
def test_the_documented_modules_can_be_imported(module: str) -> None:
    """Each is another way to the same objects."""
    home = importlib.import_module(module)
    for name in getattr(home, "__all__", ()):
        if name in HOMES and name not in LATER:
            assert getattr(home, name) is getattr(roomkit, name)


@pytest.mark.parametrize("slip", ["RoomKitt", "AIChanel", "WebsocketChannel", "hook_trigger"])
def test_a_slip_is_an_attribute_error(slip: str) -> None:
    """With the name that was probably meant."""
    with pytest.raises(AttributeError, match="module 'roomkit' has no attribute"):
        getattr(roomkit, slip)
