"""`from roomkit import X`: lazily, with what to do when X is not there."""

import importlib
import inspect
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import roomkit
from roomkit._exports import COMPONENTS, HOMES
from roomkit._names import distribution_of, how_to_get, lazy_names, nearest

NOT_BUILT = "roomkit-pyroscope, which is not installed: it is not built yet"


def run(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200
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
    for name, home in HOMES.items():
        if home.startswith("roomkit."):
            assert getattr(roomkit, name) is not None


def test_a_star_import_works_with_what_is_installed() -> None:
    """Names of missing distributions are omitted; names of present ones are there."""
    names = run("from roomkit import *; print(*dir())").split()
    assert {"Room", "RoomEvent", "InMemoryStore"} <= set(names)


def test_a_missing_distribution_is_named() -> None:
    """Importing a name of it says which one, and what to do."""
    with pytest.raises(ImportError, match=f"^roomkit.PyroscopeProfiler comes with {NOT_BUILT}"):
        exec("from roomkit import PyroscopeProfiler")


def test_a_missing_distribution_is_no_attribute() -> None:
    """So `hasattr` and a default work; the error says what importing says."""
    assert not hasattr(roomkit, "PyroscopeProfiler")
    assert getattr(roomkit, "PyroscopeProfiler", None) is None
    with pytest.raises(AttributeError, match=NOT_BUILT):
        getattr(roomkit, "PyroscopeProfiler")  # noqa: B009


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("planned", "it is not built yet, and a package of that name on an index is not ours"),
        ("built", "it is not on a package index yet; run `uv build --all-packages -o dist"),
        ("published", "pip install roomkit-pyroscope"),
        (None, "pip install roomkit-pyroscope"),  # a third party's
    ],
)
def test_only_what_is_published_is_to_be_installed_by_name(
    monkeypatch: pytest.MonkeyPatch, state: str | None, advice: str
) -> None:
    """Anyone may register a name that is free."""
    states = {} if state is None else {"roomkit-pyroscope": state}
    monkeypatch.setattr("roomkit._exports.DISTRIBUTIONS", states)
    assert how_to_get("roomkit-pyroscope").startswith(advice)


def test_a_typo_is_an_attribute_error_with_the_name_that_was_meant() -> None:
    """A from-import of one names it too; Python itself does so among at most 750 names."""
    with pytest.raises(AttributeError, match=r"has no attribute 'RoomEvnt'. Did you mean 'RoomEvent'\?"):
        getattr(roomkit, "RoomEvnt")  # noqa: B009
    with pytest.raises(ImportError, match=r"cannot import name 'RoomEvnt'.* Did you mean: 'RoomEvent'\?"):
        exec("from roomkit import RoomEvnt")


def test_a_module_that_is_not_there_is_not_taken_for_a_slip() -> None:
    assert find_spec("roomkit.room_kit") is None
    with pytest.raises(ImportError, match="cannot import name 'Xyzzy'"):
        exec("from roomkit import Xyzzy")


def test_dir_lists_what_is_installed() -> None:
    assert {"Room", "RoomKit", "__version__"} <= set(dir(roomkit))
    assert not {"PyroscopeProfiler", "TYPE_CHECKING", "HOMES"} & set(dir(roomkit))


def test_all_that_dir_lists_is_there() -> None:
    listed = dir(roomkit)
    members = dict(inspect.getmembers(roomkit))
    assert members["Room"] is roomkit.Room
    assert set(listed) <= set(members)


def test_help_shows_the_public_names() -> None:
    page = run("import roomkit; help(roomkit)")
    assert "one conversation over many channels" in page
    assert "class RoomKit(" in page


def test_the_package_can_stand_for_a_mock() -> None:
    """Programs that replace `roomkit` in their tests get its names."""
    assert run(
        "from unittest import mock; import roomkit\n"
        "spec = mock.create_autospec(roomkit)\n"
        "print(hasattr(spec, 'RoomKit'), hasattr(spec, 'PyroscopeProfiler'))"
    ).split() == ["True", "False"]


@pytest.mark.parametrize("home", ["roomkit.abc", "roomkit.models", "roomkit.memory", "roomkit.sources"])
def test_a_second_home_has_the_same_objects(home: str) -> None:
    """The other documented modules are other ways to the same names."""
    module = importlib.import_module(home)
    for name in module.__all__:
        assert getattr(module, name) is getattr(roomkit, name)


def test_a_second_home_says_what_is_missing_too() -> None:
    with pytest.raises(ImportError, match="NATSSource comes with roomkit-nats, which is not installed"):
        exec("from roomkit.sources import NATSSource")


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
        exec("from roomkit import PyroscopeProfiler")
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_sdk'"):
        exec("from roomkit_plugins.pyroscope import PyroscopeProfiler")
    assert not hasattr(roomkit, "PyroscopeProfiler")


def test_an_installed_distribution_that_lacks_the_name_is_too_old(
    plugin_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = plugin_packages / "pyroscope"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")

    monkeypatch.setattr("roomkit._exports.DISTRIBUTIONS", {"roomkit-pyroscope": "published"})
    with pytest.raises(ImportError, match="pip install --upgrade roomkit-pyroscope"):
        exec("from roomkit import PyroscopeProfiler")


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
    assert nearest("smschannel", ["SMSChannel", "RCSChannel"]) == "SMSChannel"
    assert nearest("zzz", ["SMSChannel"]) is None
