"""`from roomkit import X`: lazily, with what to do when X is not there."""

import subprocess
import sys
from pathlib import Path

import pytest

import roomkit
from roomkit._exports import COMPONENTS, HOMES
from roomkit._names import distribution_of, lazy_names, nearest


def run(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()


def test_importing_roomkit_imports_next_to_nothing() -> None:
    """No plugin, no SDK, no pydantic, not even typing or pluggy."""
    loaded = run(
        "import sys; before = set(sys.modules); import roomkit;"
        "print(*sorted(name for name in set(sys.modules) - before if '.' not in name))"
    )
    assert set(loaded.split()) <= {"roomkit", "importlib", "warnings", "__future__"}


def test_marking_a_hook_imports_nothing_but_pluggy() -> None:
    """So registering sixty plugins costs what their scan costs."""
    loaded = run("import sys; from roomkit.plugins import hookimpl; print(*sorted(sys.modules))").split()
    assert "pluggy" in loaded
    assert not {"pydantic", "importlib_metadata", "asyncio"} & set(loaded)


def test_every_name_of_the_core_is_found() -> None:
    """The table points to what exists."""
    for name, home in HOMES.items():
        if home.startswith("roomkit."):
            assert getattr(roomkit, name) is not None


def test_a_star_import_works_with_what_is_installed() -> None:
    """Names of missing distributions are left out; names of present ones are there."""
    names = run("from roomkit import *; print(*dir())").split()
    assert {"Room", "RoomEvent", "InMemoryStore"} <= set(names)


def test_a_missing_distribution_is_named() -> None:
    """The error is the command to type."""
    missing = next(name for name, home in HOMES.items() if home == "roomkit_plugins.pyroscope")

    with pytest.raises(ImportError, match=f"roomkit.{missing} comes with roomkit-pyroscope.*pip install"):
        getattr(roomkit, missing)


def test_a_typo_is_an_attribute_error_with_the_name_that_was_meant() -> None:
    """And a from-import of one is Python's own error."""
    with pytest.raises(AttributeError, match=r"has no attribute 'RoomEvnt'. Did you mean 'RoomEvent'\?"):
        getattr(roomkit, "RoomEvnt")  # noqa: B009
    with pytest.raises(ImportError, match="cannot import name 'RoomEvnt'"):
        exec("from roomkit import RoomEvnt")


def test_dir_lists_the_public_names() -> None:
    """Completion in a shell shows them before they are loaded."""
    assert {"Room", "TwilioSMSProvider", "__version__"} <= set(dir(roomkit))


def test_a_second_home_has_the_same_objects() -> None:
    """Documented sub-packages are other ways to the same names."""
    from roomkit.abc import ConversationStore
    from roomkit.models import RoomEvent
    from roomkit.store.base import ConversationStore as Base

    assert RoomEvent is roomkit.RoomEvent
    assert ConversationStore is Base is roomkit.ConversationStore


def test_a_second_home_says_what_to_install_too() -> None:
    """Wherever a name is asked for."""
    import roomkit.telemetry

    with pytest.raises(ImportError, match="pip install roomkit-pyroscope"):
        getattr(roomkit.telemetry, "PyroscopeProfiler")  # noqa: B009


@pytest.fixture
def plugin_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the namespace `roomkit_plugins`, on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "roomkit_plugins", raising=False)
    yield tmp_path / "roomkit_plugins"
    for name in [name for name in sys.modules if name.startswith("roomkit_plugins.pyroscope")]:
        del sys.modules[name]


def test_a_missing_sdk_keeps_its_own_error(plugin_packages: Path) -> None:
    """Installed but for its SDK: saying `pip install roomkit-x` would be wrong."""
    package = plugin_packages / "pyroscope"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from roomkit.plugins import lazy_names\n"
        "__getattr__, __dir__, __all__ = lazy_names(__name__, {'PyroscopeProfiler': 'profiler'})\n"
    )
    (package / "profiler.py").write_text("import no_such_sdk\n")

    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_sdk'"):
        getattr(roomkit, "PyroscopeProfiler")  # noqa: B009


def test_an_installed_distribution_that_lacks_the_name_is_too_old(plugin_packages: Path) -> None:
    """The remedy is an upgrade."""
    package = plugin_packages / "pyroscope"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")

    with pytest.raises(ImportError, match="pip install --upgrade roomkit-pyroscope"):
        getattr(roomkit, "PyroscopeProfiler")  # noqa: B009


def test_lazy_names_of_a_package_load_once() -> None:
    """The second look is a plain attribute."""
    import roomkit.plugins as package

    lookup, listing, names = lazy_names("roomkit.plugins", {"Component": "components"})
    assert lookup("Component") is package.Component
    assert names == ["Component"]
    assert "Component" in listing()
    with pytest.raises(AttributeError, match="Did you mean 'Component'"):
        lookup("Componet")


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("roomkit.abc.store", "roomkit-core"),
        ("roomkit_plugins.ai", "roomkit-ai"),
        ("roomkit_plugins.vad_energy.provider", "roomkit-vad-energy"),
    ],
)
def test_a_modules_distribution_follows_from_its_name(module: str, distribution: str) -> None:
    """One rule instead of a column in the table."""
    assert distribution_of(module) == distribution


def test_components_of_first_party_plugins_are_in_the_table() -> None:
    """So that a missing one says what to install."""
    assert COMPONENTS["sms:twilio"] == "roomkit-twilio"
    assert COMPONENTS["store:postgres"] == "roomkit-postgres"


def test_nearest_finds_slips_and_nothing_else() -> None:
    """Case does not matter; a wild guess is no help."""
    assert nearest("smschannel", ["SMSChannel", "RCSChannel"]) == "SMSChannel"
    assert nearest("zzz", ["SMSChannel"]) is None
