"""Which assistant answers: a real model where there is a key, else a script that says so."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roomkit.plugins import ComponentNotFoundError
from roomkit_plugins.cli.scripted import ScriptedAssistant
from roomkit_plugins.cli.terminal import CommandError

if TYPE_CHECKING:
    import argparse

    from roomkit.abc.channel import Channel
    from roomkit.plugins import PluginManager

__all__ = ["Assistant", "add_options", "find_assistant"]

ASSISTANT = "assistant"
_PROVIDERS = {
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "mistral": "MISTRAL_API_KEY",
}
_DEFAULT_MODELS = {  # as of 2026-11: models retire
    "anthropic": "claude-sonnet-5-5",
    "openai": "gpt-5.5",
    "gemini": "gemini-3.8-flash",
    "mistral": "mistral-large-latest",
}
_PROMPT = (
    "You are the assistant in a chat room where several people talk. Answer briefly and plainly, in the "
    "language you are spoken to. You see who said what; you need not greet everyone each time."
)


@dataclass(slots=True, frozen=True)
class Assistant:
    """An agent for a room; `note` says why it is this one."""

    channel: Channel
    kind: str
    model: str | None
    note: str

    def describe(self) -> dict[str, object]:
        """Return the facts as JSON has them."""
        return {"kind": self.kind, "model": self.model, "note": self.note}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose an assistant."""
    parser.add_argument(
        "--model",
        metavar="[PROVIDER:]MODEL",
        help="ask this model, such as anthropic:claude-sonnet-5-5 (needs the provider's key)",
    )
    parser.add_argument("--scripted", action="store_true", help="have the script answer, key or no key")


async def find_assistant(manager: PluginManager, options: argparse.Namespace, *, pace: float) -> Assistant:
    """Build the assistant that `options` and the environment ask for.

    Raises CommandError, or what the plugin manager raises, when it cannot be had.
    """
    provider, model, note = _choice(options)
    if provider and not options.model and not await _is_installed(manager, provider):
        note = _without_plugin(provider)
        provider = model = None
    if provider is None:
        answers: Any = ScriptedAssistant(pace=pace)
    else:
        answers = await manager.acreate("ai", provider, {"model": model})
    channel = (await manager.aget("channel", "ai"))(ASSISTANT, answers, system_prompt=_PROMPT)
    return Assistant(channel, provider or "scripted", model, note)


async def _is_installed(manager: PluginManager, provider: str) -> bool:
    """Whether a plugin brings the provider. Raises PluginError if one does and is blocked or broken."""
    await manager.ascan()
    try:
        manager.find("ai", provider)
    except ComponentNotFoundError:
        return False
    return True


def _without_plugin(provider: str) -> str:
    """Say why a key alone brings no model: the SDKs are too large to be downloaded for a first look."""
    return (
        f"a script answers: {_PROVIDERS[provider]} is set, but roomkit-{provider} is not installed "
        f"(from a checkout: uv run --extra {provider} roomkit demo)"
    )


def _choice(options: argparse.Namespace) -> tuple[str | None, str | None, str]:
    """Return provider and model, both None for the script, and why."""
    if options.scripted:
        if options.model:
            raise CommandError(
                "--scripted and --model say different things", next_step="leave one out", code="wrong_usage"
            )
        return None, None, "a script answers, as asked for"
    named, _, model = (options.model or "").rpartition(":")
    if named and named not in _PROVIDERS:
        # A model's own name may have a colon, as those of local servers do.
        named, model = "", options.model
    with_key = [provider for provider, key in _PROVIDERS.items() if os.environ.get(key)]
    provider = named or next(iter(with_key), "")
    if not provider and model:
        raise CommandError(
            f"no key is set for the model {model!r}",
            next_step=f"set {_any_key()}",
            code="no_key",
        )
    if not provider:
        return None, None, f"a script answers: set {_any_key()} for a model"
    if provider not in with_key:
        raise CommandError(
            f"{_PROVIDERS[provider]} is not set", next_step=f"set {_PROVIDERS[provider]}", code="no_key"
        )
    model = model or _DEFAULT_MODELS[provider]
    return provider, model, f"{model} answers: {_PROVIDERS[provider]} is set"


def _any_key() -> str:
    """Name the variables of which one brings a model."""
    (*others, last) = _PROVIDERS.values()
    return f"{', '.join(others)} or {last}"
