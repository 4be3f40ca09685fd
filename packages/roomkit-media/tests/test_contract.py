"""The contracts of guarded fetches and of media stores."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import override

import pytest

from roomkit.abc.media import MediaStore
from roomkit.abc.services.fetch import GuardedFetch
from roomkit_plugins.media import DiskMediaStore, FetchConfig, PinnedFetch
from roomkit_plugins.testing.contracts.fetch import GuardedFetchContract
from roomkit_plugins.testing.contracts.media import MediaStoreContract


class TestPinnedFetch(GuardedFetchContract):
    """On real sockets."""

    @override
    def make_fetch(
        self,
        *,
        resolver: Callable[[str, int], Awaitable[Sequence[str]]],
        ports: frozenset[int],
        networks: Sequence[str] = (),
    ) -> GuardedFetch:
        config = FetchConfig(ports=ports, allow_networks=tuple(map(ip_network, networks)))
        return PinnedFetch(config, resolver=resolver)


class TestDiskMediaStore(MediaStoreContract):
    """In a folder of its own."""

    @pytest.fixture
    def factory(self, tmp_path: Path) -> Callable[[], DiskMediaStore]:
        self.folder = tmp_path / "media"
        return lambda: DiskMediaStore(self.folder)

    @override
    async def left_behind(self, media: MediaStore) -> Sequence[object]:
        """Files of either kind without the other."""
        files = {path.name for path in self.folder.glob("files/*/*")}
        return [*files ^ {path.name for path in self.folder.glob("about/*/*")}]
