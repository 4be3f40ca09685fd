"""Commands on a kit, and commands run from inside of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

__all__ = ["AGENT", "CARRIER", "KEYED", "PEOPLE", "TALKERS", "CommandOutcome", "Tree", "TreeCommand"]

type Kind = Literal[
    "open", "say", "send", "edit", "erase", "host_edit", "host_erase", "mute", "unmute", "access",
    "visibility", "attach", "detach", "ban", "idle", "close", "delete",
]  # fmt: skip
type Inside = Literal["outside", "gate", "observer", "turn"]

TALKERS = ("desk", "phone")
"""The channels that people write by."""
CARRIER = "carrier"
"""The channel under test: a transport."""
AGENT = "agent"
PEOPLE = ("ann", "bob")
KEYED = frozenset({"say", "send", "edit", "erase"})
"""The kinds that have an idempotency key, and may be repeated under it."""


@dataclass(slots=True, frozen=True, kw_only=True, repr=False)
class TreeCommand:
    """One command on a room, and the commands run from inside of it.

    `children` are given while the event of a `say` or `send` is judged (`gate`), while an agent is at work
    on it (`turn`), or when its deliveries have ended (`observer`): that is their `inside`. `target` picks
    a message of the room to edit or delete, or of the next room with `elsewhere`. `value` is the access,
    visibility or status that is set. `vetoed` has a gate refuse the event, `answered` the agent answer it,
    `again` the message come twice at once. `label` is unique: the text, and the idempotency key.
    """

    kind: Kind
    room: int = 0
    channel: str = TALKERS[0]
    person: str = PEOPLE[0]
    target: int = 0
    elsewhere: bool = False
    value: str = ""
    settled: bool = False
    vetoed: bool = False
    answered: bool = False
    again: bool = False
    inside: Inside = "outside"
    children: tuple[TreeCommand, ...] = ()
    label: str = ""

    def __repr__(self) -> str:
        said = {name: value for name, value in self.as_json().items() if name != "children"}
        if self.children:
            said["children"] = self.children
        return f"Command({', '.join(f'{name}={value!r}' for name, value in said.items())})"

    def room_id(self, other: bool = False) -> str:
        """Return the id of its room, or of the next one."""
        tree, _, _ = self.label.partition(":")
        return Tree.room_of(tree, 1 - self.room if other else self.room)

    def labelled(self, label: str) -> Self:
        """Return it with its label, and its children with theirs."""
        children = tuple(child.labelled(f"{label}.{place}") for place, child in enumerate(self.children))
        return replace(self, label=label, children=children)

    def walk(self) -> Iterator[TreeCommand]:
        """Yield it and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values; defaults are omitted."""
        values = {name: value for name, value in asdict(self).items() if value != _DEFAULTS.get(name)}
        if self.children:
            values["children"] = [child.as_json() for child in self.children]
        return values

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the command of `as_json`."""
        children = tuple(map(cls.of_json, values.get("children", ())))
        return cls(**{**values, "children": children})


_DEFAULTS = asdict(TreeCommand(kind="say"))
del _DEFAULTS["kind"]


@dataclass(slots=True, frozen=True)
class Tree:
    """Branches that run at the same time, each a sequence of commands, over two rooms."""

    name: str
    branches: tuple[tuple[TreeCommand, ...], ...]
    haunted: bool = False
    """Whether a worker has died with a delivery of the first room in its hands, see `Ghost`."""

    @classmethod
    def named(
        cls, name: str, branches: tuple[tuple[TreeCommand, ...], ...], *, haunted: bool = False
    ) -> Self:
        """Return a tree whose commands have labels that begin with its name."""
        labelled = tuple(
            tuple(each.labelled(f"{name}:{place}.{number}") for number, each in enumerate(branch))
            for place, branch in enumerate(branches)
        )
        return cls(name, labelled, haunted)

    @staticmethod
    def room_of(name: str, room: int) -> str:
        """Return the id of one of the rooms of a tree."""
        return f"{name}-room{room}"

    @property
    def room_ids(self) -> tuple[str, str]:
        """The ids of its rooms."""
        return self.room_of(self.name, 0), self.room_of(self.name, 1)

    @property
    def opening(self) -> tuple[TreeCommand, TreeCommand]:
        """The commands that make its rooms, before all others; they may be repeated."""
        first, second = (
            TreeCommand(kind="open", room=room, label=f"{self.name}:open{room}") for room in (0, 1)
        )
        return first, second

    def walk(self) -> Iterator[TreeCommand]:
        """Yield every command."""
        for branch in self.branches:
            for command in branch:
                yield from command.walk()


@dataclass(slots=True, frozen=True)
class CommandOutcome:
    """The result of a command: the stored event, if any, or why it was refused.

    `reason` is a stable code of the kit or the name of its error; empty when all went well. `done` says
    whether something was changed, where a command may find nothing to do.
    """

    label: str
    event_id: str | None = None
    reason: str = ""
    done: bool = True
