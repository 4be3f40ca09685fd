"""The whole suite: `uv run nox`. A part: `uv run nox -s lint`. One package: `uv run nox -s plugin -- NAME`.

Packages are found in `packages/`; a new folder needs nothing here.
"""

import atexit
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import nox
from nox.command import CommandFailed

PYTHONS = ["3.12", "3.13"]
NEWEST = "3.14"
"""Tested where an interpreter of it is found: not every machine has one yet."""
EVERYTHING = ["--all-packages", "--all-groups"]
"""What sessions in the shared environment need: the README's first command goes without most of it."""
AT_ONCE = (os.cpu_count() or 1) + 1
"""Processes that run tests: a third of a test's time it waits, for a server, a process or a deadline."""
SPREAD = [f"--numprocesses={AT_ONCE}", "--dist=worksteal"]
ABOUT_TEXT = (
    "benchmarks",
    "docs/test_layout.py",
    "docs/test_links.py",
    "docs/test_receive_webhooks.py",
    "docs/test_reference.py",
    "docs/test_site.py",
    "docs/test_write_a_channel.py",
    "docs/test_write_a_provider.py",
    "install",
    "system/test_planted_ai_faults.py",
    "tree",
)
"""What says the same on every Python: rules on text, pages' suites with their faults, installations."""
REST = ["tests", *(f"--ignore=tests/{each}" for each in ABOUT_TEXT)]
"""What the second Python runs besides the packages' own tests."""
ALONE = ["--no-editable", "--no-default-groups"]
ROOM = 8 << 30
"""Free bytes of memory for temporary files; a run needs a quarter of it."""
DISTRIBUTIONS = sorted(folder.parent.name for folder in Path("packages").glob("*/pyproject.toml"))
MODULES = {
    name: "roomkit" if name == "roomkit-core" else f"roomkit_plugins.{name[8:].replace('-', '_')}"
    for name in DISTRIBUTIONS
    if name != "roomkit"  # it ships no code
}

# A run starts hundreds of processes. Where the environment forbids bytecode, each compiles all its imports:
# two fifths of the tests' CPU. It is kept, but away from the sources.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""
os.environ["PYTHONPYCACHEPREFIX"] = str(Path("build/bytecode").resolve())


def _keep_temporary_files_in_memory() -> None:
    """Do so where there is room: to make and close a SQLite store waits nine times for a disk."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        return
    system = os.statvfs(memory)
    if system.f_flag & os.ST_NOEXEC or system.f_bavail * system.f_frsize < ROOM:
        return
    folder = tempfile.mkdtemp(prefix="roomkit-tests-", dir=memory)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Path(folder).chmod(0o711)  # the servers of tests run as another user than root
    os.environ["TMPDIR"] = folder


_keep_temporary_files_in_memory()

nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "tests", "newest", "plugin"]


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Check style and layout."""
    _run(session, "ruff", "check", ".")
    _run(session, "ruff", "format", "--check", ".")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    packages = [f"--package={module}" for module in MODULES.values()]
    _run(session, "mypy", *packages, "--package=tests.tree", "--package=tools")
    _run(session, "mypy", "--package=benchmarks")
    _run(session, "mypy", "--package=tests.contract_sketches")
    _run(session, "mypy", "noxfile.py")
    _run(session, "mypy", "packages/roomkit-core/tests/abc/voice/test_roles.py")  # contracts, implemented


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run tests in one environment that holds every package.

    The first Python runs all of them. On the second, the session `plugin` runs the packages' own tests, and
    what says the same on every Python is left out: the rest of `tests/` is left to this session.
    """
    _sync(session, *EVERYTHING)
    rest = REST if session.python != PYTHONS[0] and not session.posargs else []
    session.run("pytest", *SPREAD, *rest, *session.posargs)


@nox.session(venv_backend="none")
def newest(session: nox.Session) -> None:
    """Run all tests on Python 3.14 too, if this machine has it."""
    find = ["uv", "python", "find", "--no-project", "--no-python-downloads", NEWEST]
    found = subprocess.run(find, capture_output=True, text=True, check=False)
    if found.returncode:
        session.skip(f"there is no Python {NEWEST} here, so {' and '.join(PYTHONS)} were tested only")
    location = str(Path(".nox/newest").resolve())  # create_tmp() would put temporary files on the disk
    session.run_install("uv", "venv", "--quiet", "--clear", f"--python={found.stdout.strip()}", location)
    environment = {"UV_PROJECT_ENVIRONMENT": location, "VIRTUAL_ENV": location}
    session.run_install("uv", "sync", "--quiet", "--locked", *EVERYTHING, env=environment)
    tests = ["pytest", *SPREAD, "--ignore=tests/install", *session.posargs]
    session.run("uv", "run", "--quiet", "--no-sync", *tests, env=environment)


@nox.session(python=PYTHONS)
def plugin(session: nox.Session) -> None:
    """Import each distribution alone, from its wheel, and run its tests on the second Python.

    Those named after `--` are tested on both. Some are tried at once, each in an environment of its own;
    those with most tests come first, so that none is waited for alone at the end.
    """
    tested = bool(session.posargs) or session.python != PYTHONS[0]
    names = session.posargs or sorted(DISTRIBUTIONS, key=_size_of_tests, reverse=True)
    first = session.virtualenv.location
    folders = [first, *(f"{first}-{number}" for number in range(2, AT_ONCE + 1))]
    rebuilt = (f"--reinstall-package={name}" for name in DISTRIBUTIONS)
    _sync(session, *ALONE, "--all-packages", *rebuilt)  # builds each wheel once, for the following too
    environments = SimpleQueue[str]()
    for folder in folders:
        environments.put(folder)
    check = partial(_stands_alone, session, environments, tested=tested)
    with ThreadPoolExecutor(len(folders)) as pool:
        failed = [name for name, passed in zip(names, pool.map(check, names), strict=True) if not passed]
    if failed:
        session.error(f"failed alone: {', '.join(failed)}")


@nox.session(venv_backend="none", default=False)
def exports(session: nox.Session) -> None:
    """Write the generated modules of public names; `-- --check` only compares."""
    _run(session, "python", "-m", "tools.exports", *session.posargs)


@nox.session(python=PYTHONS[0], default=False)
def site(session: nox.Session) -> None:
    """Build the documentation with the reference of everything public as a web site in build/site/html."""
    session.install("mkdocs-material>=9.8,<10", "mkdocstrings[python]>=1.0,<2")
    session.run("python", "-m", "tools.site", "build/site")


@nox.session(venv_backend="none", default=False)
def cost(session: nox.Session) -> None:
    """Count what a message costs; `-- --write` stores the counts as the new limits."""
    _run(session, "python", "-m", "tests.tree.cost", *session.posargs)


@nox.session(venv_backend="none", default=False)
def coverage(session: nox.Session) -> None:
    """Measure which lines the tests run, in processes that they start too: 90 % of each package or more."""
    folder = Path("build/coverage").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    file = {"COVERAGE_FILE": str(folder / "data")}  # tests start processes in other folders
    _run(session, "coverage", "erase", env=file)
    tests = ["-m", "pytest", *SPREAD, "--ignore=tests/install", *session.posargs]
    _run(session, "coverage", "run", *tests, env=file)
    _run(session, "coverage", "combine", "--quiet", env=file)
    for name in MODULES:
        _run(session, "coverage", "report", f"--include=packages/{name}/*", env=file)


@nox.session(venv_backend="none", default=False)
def kill(session: nox.Session) -> None:
    """Kill, pause and cut off workers, and cut the power, 200 times for each store; `-- 1000` for more."""
    kills = session.posargs[0] if session.posargs else "200"
    crashes = "packages/roomkit-sqlite/tests/test_power_cut.py"
    _run(session, "pytest", "tests/workers", "tests/deploy", crashes, env={"ROOMKIT_KILLS": kills})
    pairs = {"ROOMKIT_INTERLEAVINGS": "10000"}
    selected = ("-k", "no_change_of_two_workers or lose_nothing", "--timeout=900")
    _run(session, "pytest", "packages", *selected, env=pairs)
    folder = session.create_tmp()
    _run(session, "python", "packages/roomkit-sqlite/tests/killed.py", f"{folder}/rooms.db", kills, "7")


@nox.session(venv_backend="none", default=False)
def soak(session: nox.Session) -> None:
    """Play long what the suite plays shortly: sequences of calls, trees of commands, all properties, load."""
    long = {"ROOMKIT_SEQUENCES": "500", "ROOMKIT_TREES": "100"}
    chosen = ["packages", "-k", "any_sequence_of_calls or any_tree_of_commands", "--timeout=3600"]
    _run(session, "pytest", *SPREAD, *chosen, *session.posargs, env=long)
    properties = ["packages", "-m", "hypothesis", "--timeout=3600"]
    _run(session, "pytest", *SPREAD, *properties, *session.posargs, env={"ROOMKIT_EXAMPLES": "20"})
    load = ["tests/system/test_long_load.py", "--timeout=3600"]
    _run(session, "pytest", *load, *session.posargs, env={"ROOMKIT_LOAD_MINUTES": "60"})


@nox.session(venv_backend="none", default=False)
def bench(session: nox.Session) -> None:
    """Measure speed and memory; what follows `--` goes to `python -m benchmarks`."""
    _run(session, "python", "-m", "benchmarks", *session.posargs)


@nox.session(venv_backend="none", default=False)
def providers(session: nox.Session) -> None:
    """Measure what carriers' providers add to the requests that they make."""
    _run(session, "python", "-m", "benchmarks", "providers", *session.posargs)


def _run(session: nox.Session, *command: str, env: dict[str, str] | None = None) -> None:
    """Run a command in the project's own environment, completed to hold everything."""
    session.run("uv", "run", "--quiet", "--locked", *EVERYTHING, *command, env=env)


def _stands_alone(session: nox.Session, environments: SimpleQueue[str], name: str, *, tested: bool) -> bool:
    """Import all of it with only what it declares, extras included; then run its tests if `tested`."""
    environment = environments.get()
    only = [*ALONE, f"--package={name}"]
    try:
        _sync(session, *only, "--all-extras", environment=environment)
        _run_in(session, environment, "-P", "tests/tree/import_all.py", MODULES.get(name, "roomkit"))
        if tested:
            _sync(session, *only, "--group=test", environment=environment)
            report = _run_in(session, environment, "-m", "pytest", "-q", f"packages/{name}/tests")
            session.log(f"{name}: {''.join(report.splitlines()[-1:])}")
    except CommandFailed:
        return False
    finally:
        environments.put(environment)
    return True


def _size_of_tests(name: str) -> int:
    return sum(path.stat().st_size for path in Path("packages", name, "tests").rglob("*.py"))


def _run_in(session: nox.Session, environment: str, *arguments: str) -> str:
    """Run the Python of an environment; return what it printed, which is shown if it fails."""
    bin_folder = f"{environment}/bin"
    path = os.pathsep.join([bin_folder, os.environ["PATH"]])
    active = {"VIRTUAL_ENV": environment, "PATH": path}
    return session.run(f"{bin_folder}/python", *arguments, env=active, external=True, silent=True) or ""


def _sync(session: nox.Session, *options: str, environment: str | None = None) -> None:
    """Make an environment (default: the session's) hold exactly what `uv.lock` says for these options.

    From uv's cache, if all of it is there: behind a proxy that drops an index's cache headers, uv would fetch
    files again, and compile those that have no wheel for the machine.
    """
    location = environment or session.virtualenv.location
    command = ("uv", "sync", "--quiet", "--locked", f"--python={session.python}", *options)
    env = {"UV_PROJECT_ENVIRONMENT": location}
    cached = subprocess.run((*command, "--offline"), env={**os.environ, **env}, capture_output=True)
    if cached.returncode:
        session.run_install(*command, env=env)
