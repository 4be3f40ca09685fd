"""A draft, and its copies."""

from __future__ import annotations

from copy import copy
from dataclasses import fields

from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.draft import Draft


def test_a_copy_of_a_draft_has_all_its_fields_and_leaves_it_as_it_is() -> None:
    draft = Draft(None, Cascade())  # type: ignore[arg-type]  # no event is needed here
    for each in fields(Draft):
        setattr(draft, each.name, each.name)
    made = copy(draft)
    assert made == draft
    made.bindings = ()
    assert draft.bindings == "bindings"
