"""The rules hold in this tree, and each one catches a planted violation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tree.rules import ALL, Rule, imports, naming, packages, public, sketches, testing
from tests.tree.rules.code import (
    collections_are_bounded,
    contracts_have_no_logic,
    functions_are_short,
    logs_are_discreet,
    plugins_use_their_services,
    tasks_are_supervised,
)
from tools.exports import generate
from tools.source import Tree

CLEAN = {
    "LICENSE": "Free.",
    "pyproject.toml": """
[project]
name = "workspace"
[tool.uv.sources]
roomkit = { workspace = true }
roomkit-core = { workspace = true }
roomkit-sms = { workspace = true }
roomkit-testing = { workspace = true }
""",
    "tools/catalogue.toml": """
[names]
roomkit-core = ["Room", "Later"]
roomkit-sms = ["SMSChannel"]
roomkit-twilio = ["TwilioSMSProvider"]
[later]
roomkit-core = ["Later"]
[components]
roomkit-twilio = ["sms:twilio"]
[meta]
includes = ["roomkit-core", "roomkit-http"]
[extras]
sms = ["roomkit-sms"]
twilio = ["roomkit-twilio"]
[allowed]
[homes."roomkit.sources"]
about = "Sources."
names = ["SMSChannel"]
""",
    "packages/roomkit/pyproject.toml": """
[project]
name = "roomkit"
version = "1.0.0"
license-files = ["LICENSE"]
urls = { Homepage = "h", Documentation = "d" }
dependencies = ["roomkit-core>=1.0,<2"]
[project.optional-dependencies]
sms = ["roomkit-sms>=1.0,<2"]
all = ["roomkit[sms]"]
[tool.uv.build-backend]
module-name = []
""",
    "packages/roomkit/README.md": "| `sms` | yes |\n| `twilio` | not built yet |\n",
    "packages/roomkit/LICENSE": "Free.",
    "packages/roomkit/CHANGELOG.md": "## 1.0.0\n",
    "packages/roomkit/tests/test_meta.py": "",
    "packages/roomkit-core/pyproject.toml": """
[project]
name = "roomkit-core"
version = "1.0.0"
license-files = ["LICENSE"]
urls = { Homepage = "h", Documentation = "d" }
dependencies = ["pydantic>=2"]
[tool.uv.build-backend]
module-name = "roomkit"
""",
    "packages/roomkit-core/README.md": "",
    "packages/roomkit-core/LICENSE": "Free.",
    "packages/roomkit-core/CHANGELOG.md": "## 1.0.0\n",
    "packages/roomkit-core/tests/test_room.py": "def test_it():\n    'It is.'\n",
    "packages/roomkit-core/src/roomkit/py.typed": "",
    "packages/roomkit-core/src/roomkit/__init__.py": "__version__ = '1.0.0'\n",
    "packages/roomkit-core/src/roomkit/models/__init__.py": "",
    "packages/roomkit-core/src/roomkit/models/room.py": "__all__ = ['Room']\nclass Room: ...\n",
    "packages/roomkit-core/src/roomkit/kernel/__init__.py": "",
    "packages/roomkit-core/src/roomkit/kernel/kit.py": "from roomkit.models.room import Room\n",
    "packages/roomkit-core/src/roomkit/plugins/hookspecs.py": (
        "if TYPE_CHECKING:\n    from roomkit.kernel.kit import RoomKit\n"
    ),
    "packages/roomkit-core/src/roomkit/plugins/failure_log.py": (
        "if TYPE_CHECKING:\n    from roomkit.kernel.kit import RoomKit\n"
    ),
    "packages/roomkit-core/src/roomkit/plugins/builtin.py": (
        "if TYPE_CHECKING:\n    from roomkit.kernel.kit import RoomKit\n"
    ),
    "packages/roomkit-core/src/roomkit/plugins/manager.py": (
        "if TYPE_CHECKING:\n    from roomkit.kernel.kit import RoomKit\n"
    ),
}
for plugin, offered in {"sms": "'SMSChannel': 'channel'", "testing": ""}.items():
    CLEAN |= {
        f"packages/roomkit-{plugin}/pyproject.toml": f"""
[project]
name = "roomkit-{plugin}"
version = "1.0.0"
license-files = ["LICENSE"]
urls = {{ Homepage = "h", Documentation = "d" }}
dependencies = ["roomkit-core>=1.0,<2"]
[project.entry-points.roomkit]
{plugin} = "roomkit_plugins.{plugin}.plugin"
[tool.uv.build-backend]
module-name = "roomkit_plugins.{plugin}"
""",
        f"packages/roomkit-{plugin}/README.md": "",
        f"packages/roomkit-{plugin}/LICENSE": "Free.",
        f"packages/roomkit-{plugin}/CHANGELOG.md": "## 1.0.0\n",
        f"packages/roomkit-{plugin}/tests/test_{plugin}.py": "import roomkit_plugins.testing\n",
        f"packages/roomkit-{plugin}/src/roomkit_plugins/{plugin}/py.typed": "",
        f"packages/roomkit-{plugin}/src/roomkit_plugins/{plugin}/__init__.py": (
            f"__getattr__, __dir__, __all__ = lazy_names(__name__, {{{offered}}})\n"
        ),
        f"packages/roomkit-{plugin}/src/roomkit_plugins/{plugin}/plugin.py": (
            f"registry.add('channel', '{plugin}', 'roomkit_plugins.{plugin}:Channel')\n"
        ),
    }

SMS = "packages/roomkit-sms"
SKETCH = "tests/contract_sketches/sms.py"
CODE = f"{SMS}/src/roomkit_plugins/sms"

VIOLATIONS: list[tuple[Rule, dict[str, str], str]] = [
    (imports.star, {f"{CODE}/channel.py": "from roomkit_plugins.testing import x\n"}, "channel.py:1 imports"),
    (
        imports.star,
        {f"{CODE}/channel.py": "from roomkit_plugins import testing\n"},
        "of roomkit-testing; put",
    ),
    (
        imports.star,
        {f"{CODE}/channel.py": "def f():\n    import roomkit_plugins.testing.x\n"},
        "channel.py:2 imports",
    ),
    (
        imports.star,
        {
            f"{SMS}/pyproject.toml": CLEAN[f"{SMS}/pyproject.toml"].replace(
                "roomkit-core>", "roomkit-testing>"
            )
        },
        "requires roomkit-testing",
    ),
    (
        imports.core_imports_no_plugin,
        {"packages/roomkit-core/src/roomkit/kernel/kit.py": "import roomkit_plugins.sms\n"},
        "kit.py:1 imports roomkit_plugins.sms",
    ),
    (
        imports.plugins_stay_before_the_contract,
        {f"{CODE}/__init__.py": "def f():\n    from roomkit.kernel.rooms.rooms import x\n"},
        "__init__.py:2 imports roomkit.kernel.rooms.rooms, which is behind the contract",
    ),
    (
        imports.package_tests_stay_at_home,
        {"packages/roomkit-core/tests/test_room.py": "import roomkit_plugins.sms\n"},
        "move the test to tests/",
    ),
    (
        imports.floors,
        {"packages/roomkit-core/src/roomkit/models/room.py": "from roomkit.kernel.kit import x\n"},
        "room.py:1 imports roomkit.kernel.kit, from a floor above",
    ),
    (
        imports.floors,
        {"packages/roomkit-core/src/roomkit/models/room.py": "def f():\n    from ..kernel import kit\n"},
        "room.py:2",
    ),
    (
        imports.floors,
        {"packages/roomkit-core/src/roomkit/models/room.py": "from roomkit import kernel\n"},
        "room.py:1 imports roomkit, from a floor above",
    ),
    (
        imports.kernel_rooms,
        {"packages/roomkit-core/src/roomkit/kernel/flow/job.py": "from roomkit.kernel import commit\n"},
        "job.py:1 imports roomkit.kernel, from a room above",
    ),
    (
        imports.plugins_stay_before_the_contract,
        {f"{CODE}/__init__.py": "from roomkit import kernel\n"},
        "__init__.py:1 imports roomkit, which is behind the contract",
    ),
    (
        imports.kernel_rooms,
        {"packages/roomkit-core/src/roomkit/kernel/flow/job.py": "from roomkit.kernel.kit import RoomKit\n"},
        "job.py:1 imports roomkit.kernel.kit, from a room above",
    ),
    (
        imports.kernel_rooms,
        {
            "packages/roomkit-core/src/roomkit/kernel/commit/hooks.py": (
                "if TYPE_CHECKING:\n    from roomkit.kernel.delivery.lanes import Lanes\n"
            )
        },
        "hooks.py:2 imports roomkit.kernel.delivery.lanes, from a room above",
    ),
    (
        imports.circles_are_known,
        {
            "packages/roomkit-core/src/roomkit/models/a.py": "from roomkit.models.b import x\n",
            "packages/roomkit-core/src/roomkit/models/b.py": "from roomkit.models.a import x\n",
        },
        "roomkit-core: roomkit.models.a, roomkit.models.b import each other",
    ),
    (
        imports.circles_are_known,
        {
            f"{CODE}/sending.py": "from roomkit_plugins.sms import reading, SMSChannel\n",
            f"{CODE}/reading.py": "if TYPE_CHECKING:\n    from roomkit_plugins.sms.sending import Sender\n",
        },
        "roomkit-sms: roomkit_plugins.sms.reading, roomkit_plugins.sms.sending import each other",
    ),
    (
        imports.upward_imports_are_needed,
        {"packages/roomkit-core/src/roomkit/plugins/manager.py": ""},
        "roomkit.plugins.manager -> roomkit.kernel.kit",
    ),
    (
        naming.distributions_follow_the_house,
        {
            f"{SMS}/pyproject.toml": CLEAN[f"{SMS}/pyproject.toml"].replace(
                'name = "roomkit-sms"', 'name = "sms"'
            )
        },
        "the folder says 'roomkit-sms'",
    ),
    (
        naming.entry_points_follow_the_house,
        {f"{SMS}/pyproject.toml": CLEAN[f"{SMS}/pyproject.toml"].replace("\nsms = ", "\ntext = ")},
        "[project.entry-points.roomkit] must hold sms",
    ),
    (
        naming.entry_points_follow_the_house,
        {
            path.replace("sms", "wire"): text.replace("sms", "wire")
            for path, text in CLEAN.items()
            if path.startswith(SMS)
        },
        "roomkit-wire/pyproject.toml: a library registers nothing",
    ),
    (
        naming.distributions_follow_the_house,
        {
            f"{SMS}/pyproject.toml": CLEAN[f"{SMS}/pyproject.toml"].replace(
                'module-name = "roomkit_plugins.sms"', ""
            )
        },
        "module-name is None",
    ),
    (
        naming.components_follow_the_house,
        {f"{CODE}/plugin.py": "registry.add('sms', 'x', 'elsewhere:X')\n"},
        "sms:x is elsewhere:X, which is not in it",
    ),
    (
        naming.components_follow_the_house,
        {
            f"{CODE}/plugin.py": (
                "registry.add('sms', 'x', 'roomkit_plugins.sms:X', config='roomkit_plugins.sms:Setup')\n"
            )
        },
        "call it XConfig",
    ),
    (
        naming.a_class_name_means_one_thing,
        {f"{CODE}/one.py": "class Ticket: ...", f"{CODE}/two.py": "class Ticket: ..."},
        "rename all but one",
    ),
    (naming.modules_are_not_vague, {f"{CODE}/utils.py": ""}, "name it after what it holds"),
    (packages.the_namespace_is_free, {f"{SMS}/src/roomkit_plugins/__init__.py": ""}, "delete it"),
    (packages.packages_are_typed, {f"{CODE}/py.typed": "-"}, "py.typed is missing"),
    (packages.packages_are_whole, {f"{SMS}/README.md": "-"}, "README.md is missing"),
    (packages.packages_are_whole, {f"{SMS}/CHANGELOG.md": "nothing"}, "no section ## 1.0.0"),
    (packages.packages_are_whole, {f"{SMS}/tests/test_sms.py": "-"}, "has no test_*.py"),
    (packages.packages_are_whole, {f"{SMS}/setup.py": ""}, "setup.py does not belong there"),
    (
        packages.plugins_say_which_core,
        {f"{SMS}/pyproject.toml": CLEAN[f"{SMS}/pyproject.toml"].replace(">=1.0,<2", "")},
        "depend on roomkit-core>=A,<B",
    ),
    (packages.packages_carry_the_licence, {f"{SMS}/LICENSE": "Mine."}, "must be a copy of LICENSE"),
    (
        packages.packages_carry_the_licence,
        {f"{SMS}/pyproject.toml": CLEAN[f"{SMS}/pyproject.toml"].replace("license-files", "license")},
        'write license-files = ["LICENSE"]',
    ),
    (
        packages.packages_say_where_they_come_from,
        {f"{SMS}/pyproject.toml": CLEAN[f"{SMS}/pyproject.toml"].replace("Homepage", "Other")},
        "add Homepage and Documentation",
    ),
    (
        packages.packages_say_where_they_come_from,
        {f"{SMS}/README.md": "https://pypi.org/project/roomkit"},
        "links to a package index",
    ),
    (
        packages.versions_begin_at_one,
        {f"{SMS}/pyproject.toml": CLEAN[f"{SMS}/pyproject.toml"].replace("1.0.0", "0.9.0")},
        "version 0.9.0 is below 1.0.0",
    ),
    (
        packages.the_core_has_one_version,
        {"packages/roomkit-core/src/roomkit/__init__.py": "__version__ = '1.1.0'\n"},
        "must be '1.0.0'",
    ),
    (
        packages.the_core_stays_small,
        {
            "packages/roomkit-core/pyproject.toml": CLEAN["packages/roomkit-core/pyproject.toml"].replace(
                "pydantic>=2", "httpx"
            )
        },
        "pyproject.toml requires httpx",
    ),
    (
        packages.sizes_are_kept,
        {"packages/roomkit-core/src/roomkit/models/room.py": "x = 1\n" * 100_000},
        "code lines of 'path', more than the",
    ),
    (
        packages.the_workspace_knows_every_package,
        {"pyproject.toml": CLEAN["pyproject.toml"].replace("roomkit-sms = { workspace = true }", "")},
        "add `roomkit-sms = { workspace = true }`",
    ),
    (
        packages.the_meta_package_brings_what_is_built,
        {
            "packages/roomkit/pyproject.toml": CLEAN["packages/roomkit/pyproject.toml"].replace(
                "roomkit-core>", "roomkit-sms>"
            )
        },
        "add the dependency roomkit-core",
    ),
    (
        packages.the_meta_package_brings_what_is_built,
        {
            "packages/roomkit/pyproject.toml": CLEAN["packages/roomkit/pyproject.toml"].replace(
                'all = ["roomkit[sms]"]', 'twilio = ["roomkit-twilio"]\nall = ["roomkit[sms,twilio]"]'
            )
        },
        "the extra twilio must bring nothing: remove it",
    ),
    (
        packages.the_meta_package_brings_what_is_built,
        {"packages/roomkit/README.md": ""},
        "needs the row | `sms` | yes |",
    ),
    (
        public.exports_are_current,
        {"packages/roomkit-core/src/roomkit/models/room.py": "__all__ = ['Room', 'New']\n"},
        "_exports.py is out of date; run `uv run nox -s exports`",
    ),
    (
        public.exports_are_current,
        {f"{CODE}/more/plugin.py": "registry.add_method('call', 'roomkit_plugins.sms.calls:call')\n"},
        "_exports.py is out of date; run `uv run nox -s exports`",
    ),
    (
        public.exports_are_current,
        {"packages/roomkit-core/src/roomkit/voice.py": "# Generated by hand\n"},
        "voice.py:1 is generated from nothing",
    ),
    (
        public.a_name_has_one_home,
        {"tools/catalogue.toml": CLEAN["tools/catalogue.toml"].replace("t.sources", "t.skills")},
        "roomkit.skills re-exports; import its names from roomkit",
    ),
    (
        public.a_name_has_one_home,
        {
            "tools/catalogue.toml": CLEAN["tools/catalogue.toml"].replace(
                'names = ["SMSChannel"]', 'names = ["SMS*"]'
            )
        },
        "roomkit.sources offers SMS*, which is no public name",
    ),
    (
        public.a_name_has_one_home,
        {
            "packages/roomkit-core/src/roomkit/kernel/rooms/rooms.py": (
                "from roomkit.models.room import House\n__all__ = ['House']\n"
            )
        },
        "rooms.py:1 only re-exports",
    ),
    (
        public.promised_names_are_there,
        {f"{CODE}/__init__.py": ""},
        "roomkit-sms lacks SMSChannel",
    ),
    (
        public.promised_names_are_there,
        {"packages/roomkit-core/src/roomkit/models/room.py": "__all__ = ['Room', 'Later']\n"},
        "Later is there; remove it from [later]",
    ),
    (
        public.promised_names_are_there,
        {"packages/roomkit-core/src/roomkit/models/room.py": "__all__ = ['Room', 'TwilioSMSProvider']\n"},
        "TwilioSMSProvider is promised from roomkit-twilio, but roomkit-core brings it",
    ),
    (
        plugins_use_their_services,
        {f"{CODE}/channel.py": "def f(self):\n    self.kit.send_event()\n"},
        "kit.send_event in a module that is no door",
    ),
    (
        plugins_use_their_services,
        {f"{CODE}/plugin.py": "def roomkit_configure(kit):\n    kit.store.commit()\n"},
        "kit.store is behind the contract",
    ),
    (
        plugins_use_their_services,
        {f"{CODE}/plugin.py": "def roomkit_configure(kit):\n    kit._enter()\n"},
        "kit._enter is behind the contract",
    ),
    (
        plugins_use_their_services,
        {f"{CODE}/channel.py": "def f(self):\n    return self.services._kernel.writer\n"},
        "services._kernel is the kernel's own",
    ),
    *(
        (sketches.sketches_know_the_contract_alone, {SKETCH: code}, problem)
        for code, problem in (
            ("from roomkit.kernel.kit import RoomKit\n", "sms.py:1 imports roomkit.kernel.kit"),
            ("from roomkit.models.room import Room\n", "sms.py:1 imports roomkit.models.room"),
            ("import roomkit_plugins.websocket\n", "sms.py:1 imports roomkit_plugins.websocket"),
            ("def f(kit):\n    return kit.store\n", "sms.py:2: kit.store is behind the contract"),
            ("def f(kit):\n    kit._enter()\n", "sms.py:2: kit._enter is private"),
            ("def f(self):\n    self.services._kernel\n", "self.services._kernel is private"),
            ("def f(self, kit):\n    self.kit = kit\n", "self.kit: a plugin has its services"),
        )
    ),
    (
        sketches.sketches_know_the_contract_alone,
        {"tests/contract_sketches/test_sms.py": "def test_it(kits):\n    kits[0].store\n"},
        "test_sms.py:2: kits[0].store is behind the contract",
    ),
    (tasks_are_supervised, {f"{CODE}/channel.py": "asyncio.create_task(f())\n"}, "create_task outside"),
    (
        tasks_are_supervised,
        {f"{CODE}/channel.py": "asyncio.ensure_future(f())\n"},
        "ensure_future outside",
    ),
    (
        tasks_are_supervised,
        {f"{CODE}/channel.py": "from asyncio import create_task\n"},
        "create_task outside",
    ),
    (
        contracts_have_no_logic,
        {
            "packages/roomkit-core/src/roomkit/abc/source.py": (
                "class Source(ABC): ...\nclass NamedSource(Source):\n    name = 'x'\n"
            )
        },
        "source.py:2: NamedSource implements a contract",
    ),
    (
        contracts_have_no_logic,
        {"packages/roomkit-core/src/roomkit/abc/retry.py": "import asyncio\n"},
        "retry.py:1 imports asyncio",
    ),
    (
        functions_are_short,
        {"packages/roomkit-core/src/roomkit/models/room.py": "def f():\n    'It is.'\n" + "    x = 1\n" * 80},
        "room.py:1 f has 81 lines, more than 80",
    ),
    (collections_are_bounded, {f"{CODE}/channel.py": "waiting = deque()\n"}, "deque has no bound"),
    (
        collections_are_bounded,
        {f"{CODE}/channel.py": "waiting = asyncio.Queue()\n"},
        "Queue has no bound",
    ),
    (
        collections_are_bounded,
        {f"{CODE}/channel.py": "@lru_cache(maxsize=None)\ndef f(): ...\n"},
        "lru_cache",
    ),
    *(
        (logs_are_discreet, {f"{CODE}/channel.py": f"{line}\n"}, "writes raw text")
        for line in (
            "_log = logging.getLogger(__name__)",
            "from logging import getLogger",
            "logging.warning('%s', error)",
            "traceback.print_exception(error)",
        )
    ),
    *(
        (logs_are_discreet, {f"{CODE}/channel.py": f"{line}\n"}, "formats by itself")
        for line in (
            "_log.warning(f'{error}')",
            "logger.info('it failed: %s' % error)",
            "self._log.error('it failed: %s', str(error))",
            "_log.error('it failed: {}'.format(error))",
        )
    ),
    (
        testing.tests_say_what_they_show,
        {f"{SMS}/tests/test_sms.py": "def test_it(): ...\n"},
        "test_it says too little",
    ),
    (
        testing.tests_do_not_sleep,
        {f"{SMS}/tests/test_sms.py": "import time\ntime.sleep(0.1)\n"},
        "test_sms.py:2 sleeps",
    ),
    (
        testing.tests_do_not_sleep,
        {f"{SMS}/tests/test_sms.py": "async def test_it():\n    await asyncio.sleep(1)\n"},
        "test_sms.py:2 sleeps",
    ),
]


def plant(root: Path, files: dict[str, str]) -> Tree:
    """Write a tree; the text `-` leaves a file out."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text == "-":
            path.unlink(missing_ok=True)
        else:
            path.write_text(text, encoding="utf-8")
    return Tree(root)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree()


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    for path, text in generate(plant(tmp_path, CLEAN)).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.__name__)
def test_the_rule_holds(rule: Rule, tree: Tree) -> None:
    """In this tree."""
    assert list(rule(tree)) == []


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.__name__)
def test_a_clean_tree_is_let_through(rule: Rule, clean: Path) -> None:
    assert list(rule(Tree(clean))) == []


@pytest.mark.parametrize(("rule", "files", "message"), VIOLATIONS)
def test_a_planted_violation_is_caught(rule: Rule, files: dict[str, str], message: str, clean: Path) -> None:
    """With words that say where it is and what to do."""
    violations = list(rule(plant(clean, files)))
    assert any(message in violation for violation in violations), violations


@pytest.mark.parametrize(
    "code",
    [
        "waiting = deque(maxlen=3)\n",
        "waiting = deque()  # bound: one for each open socket\n",
        "waiting = asyncio.Queue(8)\n",
        "@lru_cache(maxsize=8)\ndef f(): ...\n",
    ],
)
def test_a_stated_bound_is_let_through(code: str, clean: Path) -> None:
    assert list(collections_are_bounded(plant(clean, {f"{CODE}/channel.py": code}))) == []


@pytest.mark.parametrize(
    "code",
    [
        "async def test_it():\n    await asyncio.sleep(0)\n",
        "@pytest.mark.virtual_time\nasync def test_it():\n    await asyncio.sleep(9)\n",
        "pytestmark = pytest.mark.virtual_time\nasync def test_it():\n    await asyncio.sleep(9)\n",
        "async def slow():\n    await asyncio.sleep(9)  # virtual time\n",
    ],
)
def test_a_virtual_sleep_is_let_through(code: str, clean: Path) -> None:
    assert list(testing.tests_do_not_sleep(plant(clean, {f"{SMS}/tests/test_sms.py": code}))) == []


def test_every_rule_has_a_planted_violation() -> None:
    """A rule that catches nothing protects nothing."""
    assert {rule.__name__ for rule in ALL} == {rule.__name__ for rule, _, _ in VIOLATIONS}
