"""The overview of features: those that are built, and those of distributions that are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools.exports import components, distributions
from tools.source import Tree

_CHANNELS = {
    "websocket": "text, rich, media; typing and reactions; answers shown while they are generated",
    "sms": "text, MMS; delivery receipts",
    "rcs": "text, rich, media; cards, carousels, suggested actions",
    "email": "text, rich, media; threads",
    "messenger": "text, rich, media, template; buttons, quick replies",
    "teams": "text, rich; proactive messages",
    "telegram": "text, rich, media",
    "whatsapp": "text, rich, media, location, template",
    "whatsapp-personal": "text, media, audio, location; typing, read receipts",
    "voice": "audio, text; speech to text, text to speech, barge-in",
    "realtime-voice": "audio, text; speech-to-speech models",
    "http": "text, rich; any system that takes a webhook",
    "ai": "text, rich; an agent, which answers",
    "agent": "an agent with a role, for hand-offs and delegation",
}
_VENDORS = {
    "ai": "Language models",
    "sms": "SMS",
    "rcs": "RCS",
    "email": "E-mail",
    "http": "HTTP",
    "messenger": "Messenger",
    "teams": "Teams",
    "telegram": "Telegram",
    "whatsapp": "WhatsApp",
    "stt": "Speech to text",
    "tts": "Text to speech",
    "voice-backend": "Voice backends",
    "realtime-voice": "Speech to speech",
    "vad": "Voice activity detection",
    "denoiser": "Denoisers",
    "aec": "Echo cancellation",
    "agc": "Gain control",
    "dtmf": "Touch tones",
    "turn": "Turn detection",
    "backchannel": "Backchannel detection",
    "resampler": "Resamplers",
    "recorder": "Recorders",
    "store": "Stores",
    "media": "Files",
    "fetch": "Fetching of URLs",
    "memory": "Memories of agents",
    "tools": "Tools for agents",
    "executor": "Executors of agents' turns",
    "locks": "Room locks",
    "realtime": "Realtime events",
    "telemetry": "Telemetry",
    "source": "Sources",
}
_INTRODUCTION = Path(__file__).with_name("features.intro.md")


def features() -> Iterator[str]:
    """Yield the lines of the page."""
    tree = Tree()
    brings, states = dict(components(tree)), distributions(tree)
    yield from _INTRODUCTION.read_text(encoding="utf-8").splitlines()
    yield ""
    yield "## Channels"
    yield ""
    yield "| channel | carries | distribution | |"
    yield "|---|---|---|---|"
    for name, carries in _CHANNELS.items():
        distribution = brings[f"channel:{name}"]
        yield f"| `{name}` | {carries} | `{distribution}` | {_state(states[distribution])} |"
    yield ""
    yield "## Vendors and backends"
    yield ""
    yield "The core brings a store, room locks and realtime events in memory, and telemetry to the console."
    yield ""
    yield "| kind | available | not available yet |"
    yield "|---|---|---|"
    for kind, title in _VENDORS.items():
        named = {name: by for name, by in brings.items() if name.startswith(f"{kind}:")}
        built = [name for name, by in named.items() if states[by] != "planned"]
        later = [name for name in named if name not in built]
        yield f"| {title} | {_names(built)} | {_names(later)} |"


def undescribed() -> set[str]:
    """List the channels and kinds of the catalogue that this page has no word for."""
    kinds = {name.partition(":")[0] for name in dict(components(Tree()))}
    channels = {name.partition(":")[2] for name in dict(components(Tree())) if name.startswith("channel:")}
    return channels - set(_CHANNELS) | kinds - set(_VENDORS) - {"channel", "table"}


def _state(state: str) -> str:
    return "not available yet" if state == "planned" else "available"


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name.partition(':')[2]}`" for name in sorted(names))
