"""What a plugin contributes, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from roomkit._dataclasses import dataclass
from roomkit.models.vocabulary import OpenVocabulary


class ComponentKind(OpenVocabulary):
    """The roles a component can play; a plugin declares further ones (`registry.add_kind`)."""

    CHANNEL = "channel"
    SMS = "sms"
    RCS = "rcs"
    EMAIL = "email"
    MESSENGER = "messenger"
    TEAMS = "teams"
    TELEGRAM = "telegram"
    WHATSAPP = "whatsapp"
    HTTP = "http"
    AI = "ai"
    MEMORY = "memory"
    TOOLS = "tools"
    EXECUTOR = "executor"
    STORE = "store"
    LOCKS = "locks"
    REALTIME = "realtime"
    IDENTITY = "identity"
    ROUTER = "router"
    SOURCE = "source"
    TELEMETRY = "telemetry"
    TASKS = "tasks"
    MEDIA = "media"
    FETCH = "fetch"
    STT = "stt"
    TTS = "tts"
    VOICE_BACKEND = "voice-backend"
    REALTIME_VOICE = "realtime-voice"
    VAD = "vad"
    DENOISER = "denoiser"
    AEC = "aec"
    AGC = "agc"
    DTMF = "dtmf"
    DIARIZATION = "diarization"
    RECORDER = "recorder"
    RESAMPLER = "resampler"
    TURN = "turn"
    BACKCHANNEL = "backchannel"
    POSTPROCESSOR = "postprocessor"
    MIXER = "mixer"
    TTS_FILTER = "tts-filter"


SINGLE_TABLES: Mapping[str, ComponentKind] = {
    kind.value: kind
    for kind in (
        ComponentKind.STORE,
        ComponentKind.LOCKS,
        ComponentKind.REALTIME,
        ComponentKind.TELEMETRY,
        ComponentKind.IDENTITY,
        ComponentKind.ROUTER,
        ComponentKind.MEDIA,
        ComponentKind.FETCH,
    )
}
"""Tables of the configuration file that hold one component each."""

NAMED_TABLES = ("channels", "agents", "sources")
"""Tables that hold one component for each id."""

PROFILES = "profiles"
"""The table of the tables that a profile lays over the others."""

CORE_TABLES = ("kit", *SINGLE_TABLES, *NAMED_TABLES, PROFILES)
"""Every table that is the core's; the others are plugins' own."""


class ComponentState(StrEnum):
    """What became of a component, or of the plugin that brings it."""

    DECLARED = "declared"
    """Known by name; its code is not imported yet."""
    LOADED = "loaded"
    """Its code is imported."""
    BLOCKED = "blocked"
    """Left out before import, because the user said so."""
    INCOMPATIBLE = "incompatible"
    """Left out before import, because its plugin asks for another version of the core."""
    BROKEN = "broken"
    """Importing or registering it failed."""
    SHADOWED = "shadowed"
    """Another plugin claimed its name first."""


@dataclass(slots=True, eq=False)
class Component:
    """One entry of the registry. Read it; only the plugin manager changes it."""

    kind: ComponentKind
    name: str
    target: str
    """`module:Class`, imported at first use."""
    plugin: str
    """The entry point that brought it."""
    config: str | None = None
    """`module:Class` of its pydantic config model; `None` means it takes no settings."""
    summary: str = ""
    aliases: tuple[str, ...] = ()
    parts: Mapping[str, ComponentKind] = field(default_factory=dict)
    """Constructor arguments that are components themselves, such as a channel's `provider`."""
    part_lists: Mapping[str, ComponentKind] = field(default_factory=dict)
    """Constructor arguments that are lists of components, such as a channel's `providers`."""
    state: ComponentState = ComponentState.DECLARED
    reason: str = ""
    cause: BaseException | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(slots=True, eq=False)
class Plugin:
    """One installed plugin, as the scan found it. Read it; only the plugin manager changes it."""

    name: str
    """The name of its entry point."""
    module: str
    distribution: str = ""
    """The installed distribution, or an empty string if there is none."""
    version: str = ""
    state: ComponentState = ComponentState.DECLARED
    reason: str = ""
    cause: BaseException | None = None
    components: list[Component] = field(default_factory=list)  # bound: what one plugin declares
    tables: dict[str, str] = field(default_factory=dict)  # bound: what one plugin declares
    options: dict[str, ComponentKind] = field(default_factory=dict)  # bound: likewise
    """Tables of its own in the configuration file, each with the reference of its config model."""

    methods: dict[str, str] = field(default_factory=dict)  # bound: what one plugin declares
    merge: str | None = None
    """Methods that it adds to kits, by name, as references."""

    @property
    def key(self) -> str:
        """Distinguishes it from another plugin of the same name."""
        return f"{self.name} ({self.distribution or self.module})"

    def __str__(self) -> str:
        if not self.distribution or self.distribution == self.name:
            return f"plugin {self.name!r}"
        return f"plugin {self.name!r} ({self.distribution} {self.version})"


@dataclass(frozen=True, slots=True)
class Clash:
    """Two claims to one name: who has it, and who does not."""

    kind: ComponentKind
    name: str
    winner: str
    loser: str

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.name!r} is claimed by the plugins {self.winner!r} and {self.loser!r}; "
            f"{self.winner!r} has it. To choose the other, block {self.winner!r} "
            f"(ROOMKIT_PLUGINS_BLOCK={self.winner})."
        )
