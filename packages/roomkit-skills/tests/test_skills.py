"""Skills of folders and in code: the parts read of them, and refusals."""

from __future__ import annotations

import logging
import os

import pytest
from pydantic import ValidationError

from roomkit import Skill, SkillMetadata, SkillParseError, SkillRegistry, SkillValidationError
from roomkit.abc import InvalidInputError
from roomkit.models.ai import AITool
from roomkit_plugins.skills import SkillError, SkillNotFoundError


async def answer(name, arguments):
    return name


def test_a_folder_is_a_skill(make):
    folder = make(
        "weather",
        "description: \"Get the weather: today's & tomorrow's\"\nlicense: MIT\n"
        "allowed-tools: forecast, map_*\nmetadata:\n  version: 1.0\nauthor: Ann",
        "Be brief.",
        references={"b.md": "B", "a.md": "A"},
        scripts={"run.py": "print()"},
    )
    skill = Skill.load(folder)
    assert (skill.name, skill.instructions) == ("weather", "Be brief.")
    assert skill.description == "Get the weather: today's & tomorrow's"
    assert skill.metadata.gated_tool_names == ("forecast", "map_*")
    assert skill.metadata.license == "MIT"
    assert dict(skill.metadata.extra_metadata) == {"author": "Ann", "version": "1.0"}
    assert (skill.list_references(), skill.has_references) == (["a.md", "b.md"], True)
    assert (skill.list_scripts(), skill.has_scripts) == (["run.py"], True)
    assert skill.read_reference("a.md") == "A"
    assert skill.script_path("run.py") == folder / "scripts" / "run.py"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a, b", ("a", "b")),
        ("a b", ("a", "b")),
        ("[a, b]", ("a", "b")),
        ("\n  - a\n  - b", ("a", "b")),
        ("Bash(git: *) Read", ("Bash(git: *)", "Read")),
        ("", ()),
    ],
)
def test_allowed_tools_are_a_list_however_they_are_written(make, written, read):
    quoted = f'"{written}"' if "(" in written else written
    folder = make("weather", f"description: x\nallowed_tools: {quoted}")
    assert Skill.load(folder).metadata.allowed_tools == read


BROKEN = {
    "no head": ("# Weather", "has no head"),
    "a head without an end": ("---\nname: weather\n", "has no head"),
    "no YAML": ("---\nname: [\n---\n", "not YAML"),
    "a list": ("---\n- a\n---\n", "not a list of names and values"),
    "an alias": ("---\na: &a [x]\nb: *a\n---\n", "YAML alias"),
    "a tag that makes objects": ("---\nname: !!python/object/apply:os.getcwd []\n---\n", "not YAML"),
    "a huge head": (f"---\nname: {'x' * 20_000}\n---\n", "head of 20007 characters"),
    "no name": ("---\ndescription: x\n---\n", "name: Field required"),
    "no description": ("---\nname: weather\n---\n", "description: Field required"),
    "a long description": (f"---\nname: weather\ndescription: {'x' * 1025}\n---\n", "at most 1024"),
    "a name with a path": ("---\nname: ../weather\ndescription: x\n---\n", "name: String should match"),
    "a name of another folder": ("---\nname: storm\ndescription: x\n---\n", "its folder is 'weather'"),
}


@pytest.mark.parametrize(("text", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_broken_skill_says_what_is_wrong(tmp_path, text, problem):
    (tmp_path / "weather").mkdir()
    (tmp_path / "weather" / "SKILL.md").write_text(text)
    with pytest.raises((SkillParseError, SkillValidationError), match=problem):
        Skill.load(tmp_path / "weather")


def test_a_deep_head_ends_as_an_error(tmp_path):
    (tmp_path / "weather").mkdir()
    (tmp_path / "weather" / "SKILL.md").write_text(f"---\nname: {'[' * 8000}\n---\n")
    with pytest.raises(SkillParseError, match="nested too deep"):
        Skill.load(tmp_path / "weather")


def test_the_file_may_be_spelt_otherwise_and_is_there_once(make):
    folder = make("weather", "description: x")
    (folder / "SKILL.md").rename(folder / "Skill.MD")
    assert Skill.load(folder).name == "weather"
    (folder / "skill.md").write_text("x")
    with pytest.raises(SkillParseError, match=r"2 files called SKILL\.md"):
        Skill.load(folder)
    with pytest.raises(SkillParseError, match="not a folder of a skill"):
        Skill.load(folder / "nowhere")


OUTSIDE = [
    "../SKILL.md",
    "..",
    ".",
    "",
    "/etc/passwd",
    "a.md/../a.md",
    "..\\SKILL.md",
    "a.md\x00",
    "A.MD",
    "a.md ",
    "link.md",
    "dir",
    "pipe",
    "x" * 5000,
    "%2e%2e/SKILL.md",
    "a\u2024md",
]


@pytest.mark.parametrize("name", OUTSIDE, ids=[ascii(each[:20]) for each in OUTSIDE])
def test_no_name_leads_out_of_a_skill(make, tmp_path, name):
    """Only a plain file of the folder, spelt as it is there."""
    (tmp_path / "secret.md").write_text("secret")
    folder = make("weather", "description: x", references={"a.md": "A"}, scripts={"a.md": "A"})
    for place in (folder / "references", folder / "scripts"):
        (place / "link.md").symlink_to(tmp_path / "secret.md")
        (place / "dir").mkdir()
        os.mkfifo(place / "pipe")
    skill = Skill.load(folder)
    assert skill.list_references() == skill.list_scripts() == ["a.md"]
    with pytest.raises(SkillNotFoundError, match=r"there are: a\.md"):
        skill.read_reference(name)
    with pytest.raises(SkillNotFoundError):
        skill.script_path(name)


def test_a_folder_that_is_a_link_has_no_files(make, tmp_path):
    """References and scripts elsewhere are not the skill's."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.md").write_text("secret")
    folder = make("weather", "description: x")
    (folder / "references").symlink_to(tmp_path / "elsewhere")
    skill = Skill.load(folder)
    assert skill.list_references() == []
    with pytest.raises(SkillNotFoundError):
        skill.read_reference("a.md")


def test_a_file_that_became_a_link_is_not_followed(make, tmp_path):
    """After it was listed, too."""
    (tmp_path / "secret.md").write_text("secret")
    folder = make("weather", "description: x", references={"a.md": "A"})
    (folder / "references" / "a.md").unlink()
    (folder / "references" / "a.md").symlink_to(tmp_path / "secret.md")
    with pytest.raises(SkillNotFoundError):
        Skill.load(folder).read_reference("a.md")


@pytest.mark.parametrize("content", [b"x" * 262_145, b"\xff\xfe"], ids=["huge", "no text"])
def test_a_huge_file_and_one_that_is_no_text_are_refused(make, content):
    folder = make("weather", "description: x", references={"a.md": "A"})
    (folder / "references" / "a.md").write_bytes(content)
    with pytest.raises(SkillValidationError, match=r"a\.md is (larger than|not text)"):
        Skill.load(folder).read_reference("a.md")


def test_a_skill_file_that_is_a_link_or_a_pipe_is_refused(make, tmp_path):
    folder = make("weather", "description: x")
    (folder / "SKILL.md").rename(tmp_path / "elsewhere.md")
    (folder / "SKILL.md").symlink_to(tmp_path / "elsewhere.md")
    with pytest.raises(SkillValidationError, match="symbolic link"):
        Skill.load(folder)
    (folder / "SKILL.md").unlink()
    os.mkfifo(folder / "SKILL.md")
    with pytest.raises(SkillValidationError, match="not a plain file"):
        Skill.load(folder)


def test_discovery_is_of_all_skills_or_of_none(make, tmp_path, caplog):
    make("weather", "description: x")
    make("broken", "license: MIT")
    (tmp_path / "notes").mkdir()
    registry = SkillRegistry()
    with pytest.raises(SkillValidationError, match="broken"):
        registry.discover(tmp_path)
    assert registry.skill_count == 0
    with caplog.at_level(logging.WARNING, "roomkit.skills"):
        assert registry.discover(tmp_path, strict=False) == 1
    assert registry.skill_names == ["weather"]
    assert "a skill is omitted" in caplog.text
    with pytest.raises(SkillValidationError, match="there is a skill 'weather' already"):
        registry.discover(tmp_path, strict=False)
    with pytest.raises(SkillError, match="cannot be searched"):
        registry.discover(tmp_path / "nowhere")


def test_a_linked_skill_is_not_discovered(make, tmp_path):
    skills = tmp_path / "skills"
    skills.mkdir()
    (skills / "weather").symlink_to(make("weather", "description: x"))
    with pytest.raises(SkillValidationError, match="is a symbolic link"):
        SkillRegistry([skills])


def test_skills_are_registered_from_code_and_from_folders(make):
    registry = SkillRegistry()
    metadata = SkillMetadata(name="sum", description="Adds <numbers> & more.")
    assert registry.register(Skill(metadata=metadata, handler=answer)) == metadata
    assert registry.register(make("weather", "description: Sun & <rain>")).name == "weather"
    assert [each.name for each in registry.all_metadata()] == ["sum", "weather"]
    assert registry.get_metadata("sum") is metadata
    assert "<name>weather</name><description>Sun &amp; &lt;rain&gt;</description>" in registry.to_prompt_xml()
    with pytest.raises(SkillNotFoundError, match="there is no skill 'storm'; there are: sum, weather"):
        registry.get_skill("storm")
    with pytest.raises(SkillValidationError, match="already"):
        registry.register(Skill(metadata=metadata, handler=answer))


def test_tools_without_a_handler_are_refused():
    with pytest.raises(InvalidInputError, match="has tools but no handler"):
        Skill(SkillMetadata(name="sum", description="x"), tools=[AITool(name="add")])


@pytest.mark.parametrize("name", ["", "Weather", "a b", "a--b", "-a", "a/b", "x" * 65, "ä", "a\n"])
def test_a_name_is_in_kebab_case(name):
    with pytest.raises(ValidationError):
        SkillMetadata(name=name, description="x")
