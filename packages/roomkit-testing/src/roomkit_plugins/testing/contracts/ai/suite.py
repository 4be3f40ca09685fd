"""The fixtures and properties of the contract of AI providers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from roomkit.abc.ai import AIProvider
from roomkit_plugins.testing.contracts.life import ProviderLifeContract
from roomkit_plugins.testing.simulators.ai import (
    AISimulator,
)


class AISuite(ProviderLifeContract):
    """What the tests of an AI provider share; `AIProviderContract` is all of them."""

    @property
    def thinks(self) -> bool:
        """Whether this API gives reasoning back and takes it again."""
        return True

    @property
    def finishes(self) -> Sequence[str]:
        """The reasons to stop, in our words, that this API has a word for."""
        return ("stop", "length", "refusal")

    @property
    def reads_the_wire(self) -> bool:
        """Whether the provider reads the vendor's answers itself, and no library does."""
        return True

    @property
    def speaks_http(self) -> bool:
        """Whether it asks the vendor over a network; if not, what only a network can do is skipped."""
        return True

    def needs_http(self, why: str) -> None:
        """Skip a test of a provider that asks nothing over a network; `why` completes "without HTTP"."""
        if not self.speaks_http:
            pytest.skip(f"without HTTP {why}")

    @property
    def says_auto(self) -> bool:
        """Whether every request with tools says how to choose, so that `auto` makes no difference."""
        return False

    @property
    def counts_cache_writes(self) -> bool:
        """Whether this API says how many tokens it wrote to a cache."""
        return True

    @property
    def counts_tokens(self) -> bool:
        """Whether this API says how many tokens a request has."""
        return False

    @property
    def sdk(self) -> str | None:
        """The module of the vendor's SDK, imported at the first call; None without one."""
        return None

    @property
    def passed_on(self) -> Sequence[str]:
        """Parameters of a context that the provider passes on as they are, and this model refuses."""
        return ()

    @property
    def secrets(self) -> Sequence[str]:
        """What the factory configured as secret; none of it may show anywhere."""
        return ("sk-simulated", "sk-ant-simulated")

    @pytest.fixture(autouse=True)
    def no_certificates(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Let clients load none: simulators speak plain HTTP, and reading a system's takes long."""
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))

    @pytest.fixture
    def simulator(self) -> AISimulator:
        """Return the vendor's simulator, running; the subclass gives it."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `simulator`")

    @pytest.fixture
    def provider(self, subject: AIProvider) -> AIProvider:
        """Return the provider under test."""
        return subject
