"""Where files are kept, and where URLs may lead."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["DiskMediaConfig", "FetchConfig"]

type Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*(:[0-9]{1,5})?")


class DiskMediaConfig(BaseModel):
    """The settings of `DiskMediaStore`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Path("media")
    """The folder. It is made when it is not there; the one that it is in is not."""
    shared: bool = Field(default=False, strict=True)
    """That each worker sees this same folder, as on a network drive, or on one machine."""

    @field_validator("folder", mode="before")
    @classmethod
    def _check_folder(cls, folder: object) -> object:
        if isinstance(folder, str | os.PathLike) and not os.fspath(folder):
            raise ValueError("folder is the name of a folder")
        return folder


class FetchConfig(BaseModel):
    """The settings of `PinnedFetch`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow_hosts: tuple[str, ...] = ()
    """Host names that may have any address, as in "files.corp.example"; with ":8443" on that port as well."""
    allow_networks: tuple[Network, ...] = ()
    """Networks that may be reached although they are not public, as in "10.1.0.0/16"."""
    ports: frozenset[int] = frozenset({80, 443})
    """Ports that may be reached."""
    connect_timeout: float = Field(default=5.0, gt=0, le=300, allow_inf_nan=False)
    """Seconds that connecting to one address may take."""
    user_agent: str = Field(default="RoomKit", pattern=r"^[\x20-\x7e]{1,200}$")
    """What servers get as `User-Agent`."""

    @field_validator("allow_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(f"{host!r} is not a host: write 'files.example' or 'files.example:8443'")
        return hosts
