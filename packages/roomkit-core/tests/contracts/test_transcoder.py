"""The core's default transcoder, under the contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomkit.kernel.delivery.transcode import DefaultContentTranscoder
from roomkit_plugins.testing.contracts.transcoder import ContentTranscoderContract


class TestDefaultContentTranscoder(ContentTranscoderContract):
    @pytest.fixture
    def factory(self) -> Callable[[], DefaultContentTranscoder]:
        return DefaultContentTranscoder
