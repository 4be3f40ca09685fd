"""What a newcomer looks for is there, and every link between pages leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, ROOT, in_checkout
from tests.docs.headings import headings_of, slug
from tools.source import Module

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")]
ANCHOR = re.compile(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=in_checkout)
def test_links_lead_to_files(page: Path) -> None:
    """Relative links, as a reader of the checkout follows them."""
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=in_checkout)
def test_links_lead_to_headings(page: Path) -> None:
    """A link to a part of a page names a heading that is there."""
    missing = []
    for target, anchor in ANCHOR.findall(page.read_text(encoding="utf-8")):
        path = page.parent / target if target else page
        if path.suffix == ".md" and anchor not in {slug(heading) for heading in headings_of(path)}:
            missing.append(f"{target}#{anchor}")
    assert missing == []


@pytest.mark.parametrize(
    "name",
    [
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "CODE_OF_CONDUCT.md",
        "SECURITY.md",
        "Makefile",
        ".pre-commit-config.yaml",
        ".github/PULL_REQUEST_TEMPLATE.md",
        ".github/ISSUE_TEMPLATE/bug.md",
        ".github/ISSUE_TEMPLATE/feature.md",
        "docs/reference/releases.md",
        "docs/how-to/install.md",
        "docs/how-to/come-from-the-other-line.md",
    ],
)
def test_what_a_newcomer_looks_for_is_there(name: str) -> None:
    """And it is a file with text, not a link, which a checkout on Windows does not have."""
    path = ROOT / name
    assert not path.is_symlink()
    assert path.read_text(encoding="utf-8").strip()


def _linked(page: Path) -> set[Path]:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    return {(page.parent / target).resolve() for target in targets}


REACHED = _linked(ROOT / "README.md") | _linked(ROOT / "docs/api/index.md")
LISTED = _linked(ROOT / "llms.txt")


@pytest.mark.parametrize("page", DOCS, ids=in_checkout)
def test_every_page_is_reached_from_the_readme(page: Path) -> None:
    """By its table, by a link in the text, or by the list of the API's pages."""
    assert page in REACHED


@pytest.mark.parametrize("page", DOCS, ids=in_checkout)
def test_every_page_is_listed_for_coding_assistants(page: Path) -> None:
    """In `llms.txt`, which is all that some of them read."""
    assert page in LISTED or page.match("docs/api/index.md")


def test_make_all_runs_the_sessions_of_nox() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    noxfile = Module(ROOT / "noxfile.py", "noxfile").text
    sessions = re.findall(r'"(\w+)"', noxfile.partition("nox.options.sessions = [")[2].partition("]")[0])
    assert sessions
    assert f"\nall: {' '.join(sessions)}\n" in makefile
    assert f"\n{' '.join(sessions)}:\n\tuv run nox -s $@\n" in makefile


def test_nothing_in_the_checkout_is_a_link() -> None:
    """Git writes a text file for it on Windows."""
    folders = (ROOT, ROOT / "docs", ROOT / "tests", ROOT / "packages", ROOT / "examples")
    found = [path for folder in folders for path in folder.iterdir() if path.is_symlink()]
    assert found == []
