"""Random trees of commands against a model: what a kit must be true to, whatever is done to it at once.

`commands` and `growth` define trees of commands, `player` runs them on a kit, `course` plays a tree and
settles it, `replay` and `verdict` judge it at the end. The suite is in `roomkit.testing.contracts`.
"""

from roomkit_plugins.testing.trees.commands import CommandOutcome, Tree, TreeCommand
from roomkit_plugins.testing.trees.course import CommandRun, Story, play, settle
from roomkit_plugins.testing.trees.ghost import Ghost
from roomkit_plugins.testing.trees.growth import grow
from roomkit_plugins.testing.trees.player import Player, TreeAgent, watch
from roomkit_plugins.testing.trees.verdict import judge

__all__ = [
    "CommandOutcome",
    "CommandRun",
    "Ghost",
    "Player",
    "Story",
    "Tree",
    "TreeAgent",
    "TreeCommand",
    "grow",
    "judge",
    "play",
    "settle",
    "watch",
]
