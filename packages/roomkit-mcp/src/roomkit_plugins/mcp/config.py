"""How to reach an MCP server, and what of it to offer."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from roomkit_plugins.wire.connection import check_headers

__all__ = ["MCPConfig"]


class MCPConfig(BaseModel):
    """The settings of `MCPToolProvider`: either `url` or `command`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str | None = None
    """The server's endpoint, such as `https://tools.example/mcp`."""
    transport: Literal["streamable_http", "sse"] = "streamable_http"
    """`sse` for servers of the protocol's first version."""
    headers: dict[str, str | SecretStr] = Field(default_factory=dict)
    """HTTP headers of every request. Secret ones are given as `SecretStr`."""
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """A program that speaks MCP on its standard streams, with its arguments. No shell is involved."""
    env: dict[str, str | SecretStr] = Field(default_factory=dict)
    """Variables of the program, beside a few harmless ones such as PATH: it does not inherit the others."""
    cwd: str | None = None
    """The program's working directory."""
    tool_filter: tuple[str, ...] = ()
    """Globs on the server's names of the tools to offer; without any, all are."""
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9_-]*$", max_length=32)
    """What the offered names begin with, so that the tools of two servers differ."""
    connect_timeout: float = Field(default=30.0, gt=0)
    """Seconds that connecting, with the start of a program, and asking for the tools may take."""
    call_timeout: float = Field(default=60.0, gt=0)
    """Seconds that a call may take."""
    max_tools: int = Field(default=128, ge=1)
    """How many of the server's tools are offered at most."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it is not an http(s) URL of a server")
        if parts.username or parts.password:
            raise ValueError("it has credentials in it; give them as a header, as SecretStr")
        return url

    _check_headers = field_validator("headers")(check_headers)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.url is None) == (self.command is None):
            raise ValueError("an MCP server has either a url or a command; give one of them")
        return self

    @property
    def label(self) -> str:
        """What the server is called in messages: no arguments, no query, nothing that may be secret."""
        if self.url is not None:
            parts = urlsplit(self.url)
            return f"{parts.scheme}://{parts.netloc}{parts.path}"
        return (self.command or ("",))[0]
