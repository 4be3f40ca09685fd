"""Meta's Graph API: errors by its codes, usage headers, signatures, the challenge, the proof of calls."""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from roomkit.abc.errors import ErrorCode, ProviderError, WebhookRejected
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing.simulators import Exchange, HTTPSimulator, ReceivedRequest
from roomkit_plugins.wire.caller import HTTPAnswer
from roomkit_plugins.wire.graph import (
    GraphAPI,
    GraphApp,
    GraphCodes,
    answer_challenge,
    check_signature,
    graph_error,
    regained_in,
)
from roomkit_plugins.wire.multipart import multipart
from roomkit_plugins.wire.origin import Origin

ORIGIN = Origin("acme", "Acme")
SECRET = SecretStr("an-app-secret-of-32-characters--")
TOKEN = SecretStr("EAAcanary-of-the-token")
CODES = GraphCodes(
    codes={131056: ErrorCode.RECIPIENT_RATE_LIMIT, 10: ErrorCode.INVALID_RECIPIENT},
    subcodes={2018278: ErrorCode.INVALID_REQUEST},
    waits={131056: 6.0},
)


def failed(
    status: int = 400, code: int | None = None, headers: Mapping[str, str] | None = None, **more: Any
) -> ProviderError:
    said = {"message": "It failed", "type": "OAuthException", "code": code, "fbtrace_id": "F1", **more}
    return graph_error(HTTPAnswer(status, headers or {}, json.dumps({"error": said}).encode()), ORIGIN, CODES)


@pytest.mark.parametrize(
    ("status", "code", "more", "expected"),
    [
        (401, 190, {}, ErrorCode.AUTH),
        (400, 0, {}, ErrorCode.AUTH),
        (403, 200, {}, ErrorCode.PERMISSION),
        (403, 299, {}, ErrorCode.PERMISSION),
        (400, 4, {}, ErrorCode.RATE_LIMIT),
        (400, 100, {}, ErrorCode.INVALID_REQUEST),
        (400, 10, {}, ErrorCode.INVALID_RECIPIENT),
        (400, 10, {"error_subcode": 2018278}, ErrorCode.INVALID_REQUEST),
        (400, 131056, {}, ErrorCode.RECIPIENT_RATE_LIMIT),
        (400, 99999, {}, ErrorCode.INVALID_REQUEST),
        (400, 99999, {"is_transient": True}, ErrorCode.OVERLOADED),
        (500, None, {}, ErrorCode.SERVER),
        (429, None, {}, ErrorCode.RATE_LIMIT),
    ],
)
def test_an_error_is_classified_by_metas_code(
    status: int, code: int | None, more: dict[str, Any], expected: ErrorCode
) -> None:
    """The subcode first, then the product's code, then the Graph API's, else the status."""
    error = failed(status, code, **more)
    assert (error.error_code, error.accepted, error.request_id) == (expected, False, "F1")
    first = "graph_2018278" if more.get("error_subcode") else f"graph_{code}"
    assert error.vendor_code in (first, f"graph_{code}", None)


def test_the_error_says_what_meta_says() -> None:
    error = failed(400, 131009, error_data={"details": "text is too long"})
    assert str(error) == "Acme refused the request (400 graph_131009): It failed: text is too long"


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b'{"error": 1}', b'{"error": {"code": "x"}}'])
def test_another_body_is_classified_by_its_status(body: bytes) -> None:
    assert graph_error(HTTPAnswer(503, {}, body), ORIGIN, CODES).error_code is ErrorCode.OVERLOADED


USAGE = json.dumps({"106": [{"type": "whatsapp", "estimated_time_to_regain_access": 3}, {"call_count": 9}]})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"x-business-use-case-usage": USAGE}, 180.0),
        ({"x-app-usage": '{"call_count": 100, "estimated_time_to_regain_access": 7}'}, 420.0),
        ({"x-business-use-case-usage": '{"1": [{"estimated_time_to_regain_access": 0}]}'}, None),
        ({"x-business-use-case-usage": "{"}, None),
        ({"x-business-use-case-usage": "[1]"}, None),
        ({"x-app-usage": '{"call_count": 100, "1": ["x"]}'}, None),
    ],
)
def test_usage_headers_say_when_calls_are_taken_again(headers: dict[str, str], seconds: float | None) -> None:
    assert regained_in(headers) == seconds
    assert failed(400, 80007, headers).retry_after == seconds
    assert failed(400, 190, headers).retry_after is None


def test_a_code_has_its_own_wait_unless_the_answer_names_one() -> None:
    assert failed(400, 131056).retry_after == 6.0
    assert failed(400, 131056, {"retry-after": "9"}).retry_after == 9.0


# -- webhooks -----------------------------------------------------------------------------------


def asking(**query: str) -> WebhookRequest:
    said = "&".join(f"hub.{name}={value}" for name, value in query.items())
    return WebhookRequest(method="GET", url=f"https://chat.example/webhooks/x?{said}", headers={})


def test_the_challenge_is_answered_to_the_right_token_alone() -> None:
    right = asking(mode="subscribe", verify_token="hunter2", challenge="1158201444")
    answer = answer_challenge(right, SecretStr("hunter2"))
    assert (answer.status, answer.body, answer.content_type) == (200, "1158201444", "text/plain")


@pytest.mark.parametrize(
    ("query", "token", "status"),
    [
        ({"mode": "subscribe", "verify_token": "other", "challenge": "1"}, "hunter2", 403),
        ({"mode": "subscribe", "verify_token": "%C3%A4", "challenge": "1"}, "hunter2", 403),
        ({"mode": "subscribe", "challenge": "1"}, "hunter2", 403),
        ({"mode": "other", "verify_token": "hunter2", "challenge": "1"}, "hunter2", 403),
        ({"mode": "subscribe", "verify_token": "hunter2", "challenge": "1"}, None, 403),
        ({"mode": "subscribe", "verify_token": "hunter2"}, "hunter2", 400),
        ({"mode": "subscribe", "verify_token": "hunter2", "challenge": "%0A"}, "hunter2", 400),
        ({"mode": "subscribe", "verify_token": "hunter2", "challenge": "1" * 201}, "hunter2", 400),
    ],
)
def test_a_challenge_with_another_token_is_refused(
    query: dict[str, str], token: str | None, status: int
) -> None:
    with pytest.raises(WebhookRejected) as caught:
        answer_challenge(asking(**query), None if token is None else SecretStr(token))
    assert caught.value.status_code == status
    assert "hunter2" not in str(caught.value)


def test_a_signature_is_of_the_whole_body() -> None:
    body = b'{"object": "page"}'
    sum_of = hmac.new(SECRET.get_secret_value().encode(), body, "sha256").hexdigest()
    request = WebhookRequest(
        method="POST",
        url="https://chat.example/x",
        headers={"x-hub-signature-256": f"sha256={sum_of}"},
        body=body,
    )
    check_signature(request, SECRET)
    for other, secret in ((body + b" ", SECRET), (body, SecretStr("another")), (body, None)):
        changed = WebhookRequest(method="POST", url=request.url, headers=request.headers, body=other)
        with pytest.raises(WebhookRejected):
            check_signature(changed, secret)
    bare = WebhookRequest(method="POST", url=request.url, headers={"X-Hub-Signature-256": sum_of}, body=body)
    with pytest.raises(WebhookRejected, match="check that app_secret"):
        check_signature(bare, SECRET)


# -- calls --------------------------------------------------------------------------------------


class Graph(HTTPSimulator):
    """Answers every call alike."""

    status, body = 200, {"id": "M1"}

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        await exchange.send_json(self.status, self.body)


@pytest.fixture
async def graph() -> AsyncIterator[Graph]:
    async with Graph() as simulator:
        yield simulator


@pytest.fixture
async def connect(graph: Graph) -> AsyncIterator[Callable[..., GraphAPI]]:
    made: list[GraphAPI] = []

    def connect(secret: SecretStr | None = SECRET) -> GraphAPI:
        app = GraphApp(f"{graph.origin}/v25.0", TOKEN, 5.0, secret)
        made.append(GraphAPI(ORIGIN, app, CODES, owner="Acme", distribution="roomkit-acme"))
        return made[-1]

    yield connect
    for each in made:
        await each.close()


async def test_a_call_carries_the_token_and_the_proof_of_the_secret(
    graph: Graph, connect: Callable[..., GraphAPI]
) -> None:
    """https://developers.facebook.com/docs/graph-api/guides/secure-requests: HMAC-SHA256 of the token."""
    assert await connect().post("/106/messages", {"a": 1}) == {"id": "M1"}
    assert await connect(None).get("/106", fields="id,name") == {"id": "M1"}
    first, second = graph.requests
    proof = hmac.new(
        SECRET.get_secret_value().encode(), TOKEN.get_secret_value().encode(), "sha256"
    ).hexdigest()
    assert first.query == {"appsecret_proof": proof}
    assert first.headers["authorization"] == f"Bearer {TOKEN.get_secret_value()}"
    assert second.query == {"fields": "id,name"}


async def test_neither_the_token_nor_the_proof_shows_in_an_error(
    graph: Graph, connect: Callable[..., GraphAPI]
) -> None:
    api = connect()
    app = GraphApp("", TOKEN, 5.0, SECRET)
    graph.status = 400
    graph.body = {"error": {"message": f"bad {TOKEN.get_secret_value()} {app.proof}", "code": 100}}  # type: ignore[dict-item]
    with pytest.raises(ProviderError) as caught:
        await api.get("/106")
    assert TOKEN.get_secret_value() not in str(caught.value)
    assert app.proof not in str(caught.value)
    assert "canary" not in repr(app)


async def test_a_file_goes_out_as_a_form(graph: Graph, connect: Callable[..., GraphAPI]) -> None:
    """Read back by the standard library; no name can add a header or a field."""
    evil = 'a"\r\nX-Evil: 1\r\n.png'
    form = multipart(
        {"type": "image/png"}, name="file", filename=evil, mime_type="image/png", data=b"\x00\r\n1"
    )
    await connect().post_form("/106/media", form)
    (request,) = graph.requests
    kind = request.headers["content-type"]
    boundary = kind.partition("boundary=")[2].encode()
    _, first, second, end = request.body.split(b"--" + boundary)
    assert end == b"--\r\n"
    assert first == b'\r\nContent-Disposition: form-data; name="type"\r\n\r\nimage/png\r\n'
    head, _, data = second.partition(b"\r\n\r\n")
    assert head.splitlines()[1:] == [
        b'Content-Disposition: form-data; name="file"; filename="a%22%0D%0AX-Evil: 1%0D%0A.png"',
        b"Content-Type: image/png",
    ]
    assert data == b"\x00\r\n1\r\n"


def test_what_is_no_media_type_is_bytes() -> None:
    _, body = multipart({}, name="f", filename="f", mime_type="image/png\r\nX: 1", data=b"")
    assert b"Content-Type: application/octet-stream\r\n\r\n" in body
