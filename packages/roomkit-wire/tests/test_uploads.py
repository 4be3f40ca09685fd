"""Files that a vendor keeps: uploaded once, by their bytes, type and name."""

from __future__ import annotations

import time

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.content import MediaContent
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.uploads import KeptUploads


class Vendor:
    """Gives each upload an id of its own."""

    def __init__(self) -> None:
        self.files: list[bytes] = []  # bound: one test

    async def upload(self, file: MediaContent, data: bytes) -> str:
        self.files.append(data)
        return f"U{len(self.files)}"


def file(data: str, **fields: str) -> MediaContent:
    return MediaContent(**{"url": f"data:text/plain,{data}", "mime_type": "text/plain", **fields})


async def test_equal_files_are_one_upload() -> None:
    """Of another type or name, it is another; one that is forgotten is uploaded again."""
    vendor = Vendor()
    uploads = KeptUploads(vendor.upload, Origin("acme"), seconds=60)
    given = (file("a"), file("a"), file("b"), file("a", filename="a.txt"), file("a", mime_type="text/html"))
    assert [await uploads.id_of(each) for each in given] == ["U1", "U1", "U2", "U3", "U4"]
    uploads.forget("U1")
    assert [await uploads.id_of(each) for each in given[:3]] == ["U5", "U5", "U2"]
    assert vendor.files[0] == b"a"


async def test_an_upload_is_used_while_the_vendor_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = Vendor()
    uploads = KeptUploads(vendor.upload, Origin("acme"), seconds=60)
    began = time.monotonic()
    for later, identity in ((0, "U1"), (59, "U1"), (61, "U2")):
        monkeypatch.setattr("roomkit_plugins.wire.uploads.time.monotonic", lambda at=began + later: at)
        assert await uploads.id_of(file("a")) == identity


async def test_no_more_than_256_are_known() -> None:
    """The oldest is uploaded again."""
    vendor = Vendor()
    uploads = KeptUploads(vendor.upload, Origin("acme"), seconds=60)
    for number in range(257):
        await uploads.id_of(file(str(number)))
    assert await uploads.id_of(file("256")) == "U257"
    assert await uploads.id_of(file("0")) == "U258"


async def test_what_cannot_be_read_is_refused() -> None:
    uploads = KeptUploads(Vendor().upload, Origin("acme"), seconds=60)
    with pytest.raises(ProviderError, match="give it as RFC 2397 says") as caught:
        await uploads.id_of(file("").replace(url="data:text/plain;base64,?"))
    assert caught.value.error_code is ErrorCode.UNSUPPORTED_CONTENT
