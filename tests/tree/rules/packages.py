"""What every package has, and what the workspace knows of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.tree.plan import limits, sizes
from tools.source import Distribution, Tree, requirement_name

PARTS = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "src", "tests"}


def the_namespace_is_free(tree: Tree) -> Iterator[str]:
    """One `roomkit_plugins/__init__.py` hides every other plugin."""
    for path in tree.root.glob("packages/*/src/roomkit_plugins/__init__.py"):
        yield f"{path.relative_to(tree.root)}: delete it; roomkit_plugins is a namespace"


def packages_are_typed(tree: Tree) -> Iterator[str]:
    """Every distribution with code tells checkers that it is typed."""
    for one in tree.distributions:
        if one.module is not None:
            marker = one.folder.joinpath("src", *one.module.split("."), "py.typed")
            if not marker.is_file():
                yield f"{marker.relative_to(tree.root)} is missing; add it, empty"


def packages_are_whole(tree: Tree) -> Iterator[str]:
    """Every package has a README, a CHANGELOG that knows its version, tests, and nothing else."""
    for one in tree.distributions:
        place = f"packages/{one.folder.name}"
        present = {entry.name for entry in one.folder.iterdir() if not entry.name.startswith(".")}
        for name in sorted(PARTS - {"src"} - present):
            yield f"{place}/{name} is missing"
        for name in sorted(present - PARTS):
            yield f"{place}/{name} does not belong there"
        heading = f"## {one.project['project']['version']}"
        changelog = one.folder / "CHANGELOG.md"
        if changelog.is_file() and heading not in changelog.read_text(encoding="utf-8"):
            yield f"{place}/CHANGELOG.md has no section {heading}"
        if not any((one.folder / "tests").rglob("test_*.py")):
            yield f"{place}/tests has no test_*.py"


def packages_carry_the_licence(tree: Tree) -> Iterator[str]:
    """Each wheel and sdist holds the licence; a copy, since a link is a text file on Windows."""
    licence = (tree.root / "LICENSE").read_text(encoding="utf-8")
    for one in tree.distributions:
        copy = one.folder / "LICENSE"
        if copy.is_symlink() or not copy.is_file() or copy.read_text(encoding="utf-8") != licence:
            yield f"packages/{one.name}/LICENSE must be a copy of LICENSE"
        if one.project["project"].get("license-files") != ["LICENSE"]:
            yield f'packages/{one.name}/pyproject.toml: write license-files = ["LICENSE"]'


def packages_say_where_they_come_from(tree: Tree) -> Iterator[str]:
    """Metadata lead to the project, and to no package index: other projects may have our names there."""
    for one in tree.distributions:
        urls = one.project["project"].get("urls", {})
        if not {"Homepage", "Documentation"} <= urls.keys():
            yield f"packages/{one.name}/pyproject.toml: add Homepage and Documentation to [project.urls]"
        readme = one.folder / "README.md"
        texts = [*urls.values(), readme.read_text(encoding="utf-8") if readme.is_file() else ""]
        if any("pypi.org" in text for text in texts):
            yield f"packages/{one.name} links to a package index; link to the project"


def plugins_say_which_core(tree: Tree) -> Iterator[str]:
    """Every plugin says which core it works with: the manager reads it before importing anything."""
    for plugin in tree.plugins:
        lines = plugin.project["project"].get("dependencies", [])
        mine = [line.replace(" ", "") for line in lines if requirement_name(line) == "roomkit-core"]
        if not (mine and re.fullmatch(r"roomkit-core>=[\d.]+,<[\d.]+", mine[0])):
            yield f"packages/{plugin.name}/pyproject.toml: depend on roomkit-core>=A,<B"


def versions_begin_at_one(tree: Tree) -> Iterator[str]:
    """The index holds a foreign `roomkit` below 1.0, which an installer must never prefer."""
    for one in tree.distributions:
        version = one.project["project"]["version"]
        if version.startswith("0."):
            yield f"packages/{one.name}/pyproject.toml: version {version} is below 1.0.0"


def the_core_has_one_version(tree: Tree) -> Iterator[str]:
    """`roomkit.__version__` is the version of `roomkit-core`."""
    declared = {one.name: one.project["project"]["version"] for one in tree.distributions}
    for module in tree.core:
        version = declared["roomkit-core"]
        if module.name == "roomkit" and module.literal("__version__") != version:
            yield f"{tree.place(module)}: __version__ must be {version!r}, as in pyproject.toml"


def the_core_stays_small(tree: Tree) -> Iterator[str]:
    """The core depends on three libraries."""
    for one in tree.distributions:
        if one.name == "roomkit-core":
            for name in sorted(set(one.requirements) - {"pluggy", "pydantic", "importlib-metadata"}):
                yield f"packages/roomkit-core/pyproject.toml requires {name}; it belongs in a plugin"


def sizes_are_kept(tree: Tree) -> Iterator[str]:
    """The core has no more code lines than `plan.toml` allows, by what they are for."""
    allowed = limits()
    for name, lines in sizes(tree).items():
        if lines > allowed[name]:
            yield (
                f"the core has {lines} code lines of '{name}', more than the {allowed[name]} of plan.toml: "
                "move what a plugin can do out of it, or raise the figure in this commit and say why"
            )


def the_workspace_knows_every_package(tree: Tree) -> Iterator[str]:
    """The root lists each package as its own, so that none is ever taken from elsewhere."""
    sources = Distribution(tree.root).project["tool"]["uv"]["sources"]
    for one in tree.distributions:
        if sources.get(one.name) != {"workspace": True}:
            yield f"pyproject.toml: add `{one.name} = {{ workspace = true }}` to [tool.uv.sources]"


def the_meta_package_brings_what_is_built(tree: Tree) -> Iterator[str]:
    """`roomkit` depends on what it promises, and has an extra for all that is built and for no more."""
    built = {one.name for one in tree.distributions}
    catalogue = tree.catalogue
    extras = {name: sorted(needs) for name, needs in catalogue["extras"].items() if built.issuperset(needs)}
    for meta in tree.distributions:
        if meta.name == "roomkit":
            place = f"packages/{meta.name}/pyproject.toml"
            required = {requirement_name(line) for line in meta.project["project"]["dependencies"]}
            for name in sorted(built.intersection(catalogue["meta"]["includes"]) ^ required):
                yield f"{place}: {'remove' if name in required else 'add'} the dependency {name}"
            declared = dict(meta.project["project"]["optional-dependencies"])
            whole = [f"roomkit[{','.join(sorted(extras))}]"]
            if declared.pop("all", None) != whole:
                yield f"{place}: write all = {whole}"
            for name in sorted(extras.keys() | declared.keys()):
                if sorted(map(requirement_name, declared.get(name, []))) != extras.get(name, []):
                    yield f"{place}: the extra {name} must bring {extras.get(name) or 'nothing: remove it'}"
            readme = (meta.folder / "README.md").read_text(encoding="utf-8")
            for name in catalogue["extras"]:
                row = f"| `{name}` | {'yes' if name in extras else 'not built yet'} |"
                if row not in readme:
                    yield f"packages/{meta.name}/README.md: the table of extras needs the row {row}"
