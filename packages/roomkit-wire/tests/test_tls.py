"""The certificates that clients share."""

from __future__ import annotations

import ssl

import pytest

from roomkit_plugins.wire.tls import shared_context


def verifying() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def verifying_otherwise() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def test_clients_that_verify_alike_share_a_context() -> None:
    assert shared_context(verifying) is shared_context(verifying)
    assert shared_context(verifying) is not shared_context(verifying_otherwise)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_other_certificates_are_another_context(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name, raising=False)
    before = shared_context(verifying)
    monkeypatch.setenv(name, "/etc/other")
    assert shared_context(verifying) is not before
    monkeypatch.delenv(name)
    assert shared_context(verifying) is before
