"""The stories among the examples: who saw what, by both channels; on virtual time, so always the same."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

from roomkit_plugins.testing import VirtualTimeLoop

FOLDER = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def play(name: str) -> dict[str, list[str]]:
    """Play a story to its end, and return who saw what."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return dict(runner.run(load(name).main()))


def test_support_triage_shows_people_answers_and_no_handoffs(capsys):
    """The phone shows what Ann wrote from her browser, too; no one reads a summary."""
    seen = play("support_triage")
    answers = ["billing: The second payment, 30 EUR, goes back today.", "triage: We do, until noon."]
    assert seen["browser"] == answers
    assert [line for line in seen["phone"] if not line.startswith("ann: ")] == answers
    assert [line for line in seen["phone"] if line.startswith("ann: ")] == [
        "ann: I paid invoice 7 twice.",
        "ann: Thanks! Do you deliver on Saturdays?",
    ]
    assert capsys.readouterr().out.splitlines() == [
        "triage -> billing: Invoice 7 was paid twice.",
        "billing -> triage: The refund is done.",
        "triage -> billing: refused",
    ]


def test_the_hotline_keeps_two_callers_and_two_languages_apart():
    """The language is the room's: the agents that both share answer each in their own; the desk reads all."""
    seen = play("bilingual_hotline")
    luc, bob = seen["+15145550101"], seen["+14165550102"]
    assert luc == ["technician: Redémarrez la boîte, s'il vous plaît."]
    assert bob == ["reception: Hello! What can I do for you?"]
    assert {*luc, *bob} < {*seen["desk"]}
    translated = [line for line in seen["desk"] if line.startswith("interpreter: ")]
    assert translated == ["interpreter: My connection is down.", "interpreter: Please restart the box."]
    assert len(seen["desk"]) == 6


def test_only_the_managers_text_approves():
    """The stranger's came first, with the same code; the customer sees neither code nor number."""
    seen = play("approval_by_text")
    assert seen["paid back"] == ["40 EUR to ann, approved by +14165550199"]
    assert seen["browser"] == ["shop: I have to ask my manager.", "shop: 40 EUR are on their way."]
    assert seen["+14165550199"] == ['Refund 40 EUR to ann? Reply "K7 yes" or "K7 no".']
    assert not any("K7" in line or "+1416" in line for line in seen["browser"])


def test_people_see_what_the_lead_says_and_nothing_of_the_tasks():
    seen = play("delegated_research")
    said = [
        "lead: Two colleagues look into it; this takes a minute.",
        "lead: Take the folding bike: 900 EUR, and 4.6 of 5 stars.",
    ]
    assert seen["phone"] == said
    assert seen["browser"] == ["+14165550101: Which bike fits in a train?", *said]
    assert seen["tasks"] == [
        "prices, completed: 900 EUR at two shops.",
        "reviews, completed: 4.6 of 5 stars, of 210 buyers.",
    ]


def test_people_see_the_draft_that_the_reviewer_let_pass():
    """It fits into one text message; the order of the press office is for the author alone."""
    seen = play("reviewer_loop")
    (news,) = seen["phone"]
    assert seen["office"] == [news]
    assert len(news.removeprefix("author: ")) <= 160
    assert [line.partition(":")[0] for line in seen["before that"]] == ["author", "reviewer"] * 2
    assert seen["before that"][-1] == "reviewer: APPROVED"
