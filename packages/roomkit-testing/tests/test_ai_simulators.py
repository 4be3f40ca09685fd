"""The AI vendors' simulators: as strict as the vendor, and as faulty as the script says."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode
from roomkit_plugins.testing.simulators import (
    AISimulator,
    AnthropicSimulator,
    Drop,
    GeminiSimulator,
    MistralSimulator,
    OpenAISimulator,
    ReceivedRequest,
    Reply,
    ScriptedThinking,
    ScriptedToolCall,
    Slow,
    UnusedRepliesError,
    VLLMSimulator,
    WrongShape,
)

USER = {"role": "user", "content": "Hi"}
CLAUDE: dict[str, Any] = {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": [USER]}
CHAT: dict[str, Any] = {"model": "gpt-4.1", "messages": [USER]}
TURN = {"type": "message", "role": "user", "content": "Hi"}
RESPONSE: dict[str, Any] = {"model": "gpt-5.5", "input": [TURN]}

USE = {"type": "tool_use", "id": "t1", "name": "now", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "12:00"}
CALL = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
CALLED = {"type": "function_call", "call_id": "c1", "name": "now", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "12:00"}
TOOL = {"name": "now", "input_schema": {"type": "object"}}


def claude(body: object, **headers: str) -> ReceivedRequest:
    given = {
        "authorization": "Bearer sk-ant-simulated",
        "anthropic-version": "2026-10-21",
        "content-type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return ReceivedRequest("POST", "/v1/messages", {}, given, json.dumps(body).encode())


def openai(path: str, body: object, key: str = "sk-simulated") -> ReceivedRequest:
    return ReceivedRequest("POST", path, {}, {"authorization": f"Bearer {key}"}, json.dumps(body).encode())


def of(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": 1.0}, "temperature: Extra inputs are not permitted"),
        ({"top_k": 5}, "top_k: Extra inputs are not permitted"),
        ({"unknown": 1}, "unknown: Extra inputs are not permitted"),
        ({"max_tokens": None}, "max_tokens"),
        ({"model": "claude-none"}, "model: claude-none"),
        ({"messages": []}, "messages"),
        ({"messages": [of("assistant", {"type": "text", "text": "Hi"}), USER]}, "first message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0"),
        ({"messages": [USER, {"role": "assistant", "content": "The"}]}, "prefill"),
        ({"messages": [of("user", {"type": "text", "text": " "})]}, "non-whitespace"),
        ({"messages": [USER, of("assistant", USE), USER]}, "without `tool_result` blocks"),
        ({"messages": [USER, of("user", RESULT)]}, "unexpected `tool_use_id`"),
        (
            {"messages": [USER, of("assistant", USE), of("user", {"type": "text", "text": "a"}, RESULT)]},
            "must come first",
        ),
        (
            {"messages": [USER, of("assistant", USE), of("user", RESULT), of("assistant", USE), USER]},
            "ids must be unique",
        ),
        (
            {"messages": [USER, of("assistant", {**USE, "input": "x"}), of("user", RESULT)]},
            "input",
        ),
        (
            {
                "messages": [
                    USER,
                    of("assistant", {"type": "thinking", "thinking": "x", "signature": "y"}),
                    USER,
                ]
            },
            "Invalid `signature`",
        ),
        ({"tools": [{**TOOL, "name": "a.b"}]}, "tools.0.name"),
        ({"tools": [{"name": "a", "input_schema": {}}]}, "tools.0.input_schema.type"),
        ({"tools": [TOOL, TOOL]}, "must be unique"),
        ({"tool_choice": {"type": "any"}}, "while providing tools"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "not supported on this model"),
        ({"thinking": {"type": "adaptive", "budget_tokens": 2000}}, "budget_tokens"),
        ({"stop_sequences": [" "]}, "stop_sequences"),
    ],
)
def test_anthropic_refuses(changes: dict[str, Any], said: str) -> None:
    """What the Messages API refuses, with its error body."""
    refusal = AnthropicSimulator().refusal(claude({**CLAUDE, **changes}))
    assert refusal is not None
    assert refusal.status in (400, 404)
    assert refusal.body["type"] == "error"
    assert said in refusal.body["error"]["message"]


ASKED = {"role": "user", "parts": [{"text": "Hi"}]}
GEMINI: dict[str, Any] = {"contents": [ASKED]}
FUNCTION = {"functionCall": {"id": "c1", "name": "now", "args": {}}}
SKIPPED = {**FUNCTION, "thoughtSignature": "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="}
ANSWERED = {"functionResponse": {"id": "c1", "name": "now", "response": {"output": "12:00"}}}


def gemini(body: object, path: str = "gemini-3.8-flash:generateContent", **headers: str) -> ReceivedRequest:
    given = {"x-goog-api-key": "sk-simulated", **headers}
    return ReceivedRequest("POST", f"/v1beta/models/{path}", {}, given, json.dumps(body).encode())


def turn(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


def function(**fields: Any) -> dict[str, Any]:
    return {"tools": [{"functionDeclarations": [{"name": "now", **fields}]}]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unknown": 1}, 'Unknown name "unknown"'),
        ({"contents": []}, "contents"),
        ({"contents": [turn("system", {"text": "Hi"})]}, "contents.0.role"),
        ({"contents": [turn("model", {"text": "Hi"}), ASKED]}, "begin with a user turn"),
        ({"contents": [ASKED, turn("model", {"text": "The"})]}, "end with a user turn"),
        ({"contents": [ASKED, ASKED]}, "alternate"),
        ({"contents": [turn("user", {"text": ""})]}, "must not be empty"),
        ({"contents": [turn("user", {"text": "a", "inlineData": {}})]}, "inlineData"),
        ({"contents": [turn("user", {"fileData": {"fileUri": "http://x", "mimeType": "image/png"}})]}, "Uri"),
        ({"contents": [ASKED, turn("model", SKIPPED), ASKED]}, "number of function response parts"),
        ({"contents": [turn("user", ANSWERED)]}, "number of function response parts"),
        (
            {
                "contents": [
                    ASKED,
                    turn("model", SKIPPED),
                    turn("user", {"functionResponse": {**ANSWERED["functionResponse"], "id": "c2"}}),
                ]
            },
            "ids and names of their calls",
        ),
        (
            {"contents": [ASKED, turn("model", FUNCTION), turn("user", ANSWERED)]},
            "missing a thought_signature",
        ),
        (
            {"contents": [ASKED, turn("model", {"text": "a", "thoughtSignature": "c2ln"}), ASKED]},
            "signature is not valid",
        ),
        (function(name="2fa"), "functionDeclarations.0.name"),
        (
            function(parametersJsonSchema={"type": "object", "not": {}}),
            "unsupported JSON Schema keywords: not",
        ),
        (
            function(parametersJsonSchema={"properties": {"a": {"$ref": "#/$defs/A", "title": "x"}}}),
            "can not be set with other properties",
        ),
        ({"tools": 2 * function()["tools"]}, "Duplicate function declaration"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "without function_declarations"),
        (
            {
                **function(),
                "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["then"]}},
            },
            "not declared: then",
        ),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 5}}},
            "only set only one",
        ),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}, "Budget 0 is invalid"),
        ({"generationConfig": {"stopSequences": list("abcdef")}}, "stopSequences"),
        ({"generationConfig": {"responseJsonSchema": {"type": "object"}}}, "requires response_mime_type"),
        ({**function(), "cachedContent": "cachedContents/a"}, "CachedContent can not be used"),
    ],
)
def test_gemini_refuses(changes: dict[str, Any], said: str) -> None:
    """What the Gemini API refuses, with its error body."""
    refusal = GeminiSimulator().refusal(gemini({**GEMINI, **changes}))
    assert refusal is not None
    assert refusal.status == 400
    assert refusal.body["error"]["status"] == "INVALID_ARGUMENT"
    assert said in refusal.body["error"]["message"]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("gemini-3.8-flash:generateContent", {}, None),
        ("gemini-3.8-flash:generateContent", {"x-goog-api-key": "other"}, 400),
        ("gemini-none:generateContent", {}, 404),
        ("gemini-3.8-flash:sing", {}, 404),
        ("gemini-3.8-flash:streamGenerateContent", {}, 400),
    ],
)
def test_gemini_wants_its_key_and_path(path: str, headers: dict[str, str], status: int | None) -> None:
    """The key in its header, a model that is there, and server-sent events for a stream."""
    refusal = GeminiSimulator().refusal(gemini(GEMINI, path, **headers))
    assert (refusal.status if refusal else None) == status


def test_gemini_wants_its_signatures_back_in_the_current_turn() -> None:
    """As they were given out; those of turns before may be missing."""
    simulator = GeminiSimulator()
    answer: Any = simulator.document(gemini(GEMINI), Reply(tool_calls=[ScriptedToolCall("now", id="c1")]))
    (signed,) = answer["candidates"][0]["content"]["parts"]
    loop = [ASKED, turn("model", signed), turn("user", ANSWERED)]
    assert simulator.refusal(gemini({"contents": loop})) is None
    assert (
        simulator.refusal(gemini({"contents": [ASKED, turn("model", SKIPPED), turn("user", ANSWERED)]}))
        is None
    )
    later = [ASKED, turn("model", FUNCTION), turn("user", ANSWERED), turn("model", {"text": "Noon."}), ASKED]
    assert simulator.refusal(gemini({"contents": later})) is None


CALLED_BY_MISTRAL = {"id": "abcdefghi", "function": {"name": "now", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALLED_BY_MISTRAL]}
TOLD = {"role": "tool", "tool_call_id": "abcdefghi", "name": "now", "content": "12:00"}
MISTRAL: dict[str, Any] = {"model": "mistral-large-latest", "messages": [USER]}
OFFERED = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}


def mistral(body: object, key: str = "sk-simulated") -> ReceivedRequest:
    return openai("/v1/chat/completions", body, key)


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"unknown": 1}, 422, "Extra inputs are not permitted"),
        ({"messages": []}, 422, "at least 1 item"),
        ({"temperature": 2}, 422, "less than or equal to 1.5"),
        ({"model": "mistral-none"}, 400, "Invalid model: mistral-none"),
        ({"messages": [{"role": "assistant", "content": "Hi"}, USER]}, 400, "Unexpected role 'assistant'"),
        (
            {"messages": [USER, {"role": "assistant", "content": "Hi"}]},
            400,
            "Expected last role User or Tool",
        ),
        ({"messages": [USER, {"role": "assistant", "content": ""}, USER]}, 400, "content or tool_calls"),
        ({"messages": [USER, CALLS, USER]}, 400, "Not the same number of function calls"),
        ({"messages": [USER, CALLS, TOLD, USER]}, 400, "Unexpected role 'user' after role 'tool'"),
        ({"messages": [USER, CALLS, {**TOLD, "tool_call_id": "123456789"}]}, 400, "Unexpected tool call id"),
        ({"messages": [USER, CALLS, TOLD, CALLS, TOLD]}, 400, "Duplicate tool call id"),
        ({"messages": [USER, {**CALLS, "tool_calls": [{**CALLED_BY_MISTRAL, "id": "c1"}]}]}, 422, "pattern"),
        (
            {
                "messages": [
                    USER,
                    {
                        "role": "assistant",
                        "content": [{"type": "thinking", "thinking": [], "signature": "forged"}],
                    },
                    USER,
                ]
            },
            400,
            "Invalid signature",
        ),
        ({"tools": [OFFERED, OFFERED]}, 400, "Duplicate function name"),
        ({"tool_choice": "any"}, 400, "no tools were provided"),
        (
            {"tools": [OFFERED], "tool_choice": {"type": "function", "function": {"name": "then"}}},
            400,
            "Function then of tool_choice",
        ),
    ],
)
def test_mistral_refuses(changes: dict[str, Any], status: int, said: str) -> None:
    """What the chat API refuses, with its error body."""
    refusal = MistralSimulator().refusal(mistral({**MISTRAL, **changes}))
    assert refusal is not None
    assert refusal.status == status
    assert said in json.dumps(refusal.body)


def test_mistral_takes_what_it_gave_out() -> None:
    """A whole answer with signed thoughts comes back as it was, and a wrong key is refused."""
    simulator = MistralSimulator()
    reply = Reply(
        "Hi", thinking=[ScriptedThinking("Hm.", "c2ln")], tool_calls=[ScriptedToolCall("now", id="abcdefghi")]
    )
    answer: Any = simulator.document(mistral(MISTRAL), reply)
    said = {**MISTRAL, "messages": [USER, answer["choices"][0]["message"], TOLD]}
    assert simulator.refusal(mistral(said)) is None
    refusal = simulator.refusal(mistral(said, "sk-other"))
    assert refusal is not None
    assert refusal.status == 401


async def test_mistral_lists_the_models_it_has() -> None:
    async with MistralSimulator() as simulator:
        status, listed = await ask(simulator, "GET", "/v1/models", None)
        assert (status, listed["data"][0]["id"]) == (200, simulator.models[0])
        assert (await ask(simulator, "GET", f"/v1/models/{simulator.models[0]}", None))[0] == 200
        assert (await ask(simulator, "GET", "/v1/models/none", None))[0] == 404
        assert (await ask(simulator, "GET", "/v1/songs", None))[0] == 404


async def test_gemini_lists_the_models_it_has() -> None:
    async with GeminiSimulator() as simulator:
        headers = f"x-goog-api-key: {simulator.api_key}"
        status, listed = await ask(simulator, "GET", "/v1beta/models", None, headers)
        assert (status, listed["models"][0]["name"]) == (200, f"models/{simulator.models[0]}")
        path = f"/v1beta/models/{simulator.models[0]}"
        assert (await ask(simulator, "GET", path, None, headers))[1]["displayName"] == simulator.models[0]
        assert (await ask(simulator, "GET", "/v1beta/models/none", None, headers))[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer sk-other"}, 401),
        ({"authorization": "sk-ant-simulated"}, 401),
        ({"anthropic_version": "2020-01-01"}, 400),
        ({"content_type": "text/plain"}, 400),
        ({"authorization": "", "x_api_key": "sk-ant-simulated"}, None),
    ],
)
def test_anthropic_wants_its_headers(headers: dict[str, str], status: int | None) -> None:
    """The key in either header, the version, and the type of the body."""
    refusal = AnthropicSimulator().refusal(claude(CLAUDE, **headers))
    assert (refusal.status if refusal else None) == status


def test_anthropic_takes_temperature_in_its_older_version() -> None:
    older = claude({**CLAUDE, "temperature": 0.5}, anthropic_version="2023-06-01")
    assert AnthropicSimulator().refusal(older) is None


def test_anthropic_wants_its_thinking_back() -> None:
    """A call that followed thinking comes back with it, unchanged."""
    simulator = AnthropicSimulator()
    reply = Reply(
        thinking=[ScriptedThinking("Hm.", "c2ln")],
        tool_calls=[ScriptedToolCall("now", id="t1")],
    )
    simulator.document(claude(CLAUDE), reply)
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    asked = {**CLAUDE, "thinking": {"type": "adaptive"}}

    def refusal(*blocks: dict[str, Any]) -> str | None:
        messages = [USER, of("assistant", *blocks), of("user", RESULT)]
        refused = simulator.refusal(claude({**asked, "messages": messages}))
        return refused and refused.body["error"]["message"]

    assert refusal(thought, USE) is None
    assert "Expected `thinking`" in str(refusal(USE))
    assert "Invalid `signature`" in str(refusal({**thought, "thinking": "Hmm."}, USE))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"unknown": 1}, "unknown_parameter"),
        ({"messages": None}, "invalid_value"),
        ({"model": "gpt-none"}, "model_not_found"),
        ({"model": "gpt-5.5", "max_tokens": 9}, "unsupported_parameter"),
        ({"model": "gpt-5.5", "temperature": 0.5}, "unsupported_parameter"),
        ({"reasoning_effort": "low"}, "unsupported_parameter"),
        ({"stream_options": {"include_usage": True}}, None),
        ({"messages": [USER, {"role": "tool", "tool_call_id": "c1", "content": "x"}]}, None),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}, USER]}, None),
        ({"messages": [{**USER, "name": "Ann Lee"}]}, "invalid_value"),
        ({"messages": [{"role": "assistant", "content": [{"type": "image_url"}]}]}, "invalid_value"),
        ({"tool_choice": "required"}, None),
        ({"stop": ["a", "b", "c", "d", "e"]}, "invalid_value"),
    ],
)
def test_openai_chat_refuses(changes: dict[str, Any], code: str | None) -> None:
    """What Chat Completions refuses, with its error body."""
    refusal = OpenAISimulator().refusal(openai("/v1/chat/completions", {**CHAT, **changes}))
    assert refusal is not None
    assert refusal.status in (400, 404)
    assert refusal.body["error"]["code"] == code


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"messages": [USER]}, "Unknown parameter: 'messages'"),
        ({"stop": ["x"]}, "Unknown parameter: 'stop'"),
        ({"temperature": 0.5}, "not supported"),
        ({"max_output_tokens": 2}, "max_output_tokens"),
        ({"input": [TURN, CALLED]}, "No tool output found for function call c1"),
        ({"input": [TURN, OUTPUT]}, "No tool call found"),
        ({"input": [TURN, CALLED, CALLED, OUTPUT]}, "Duplicate"),
        ({"input": [TURN, {"type": "reasoning", "id": "rs_9", "summary": []}, TURN]}, "not found"),
        ({"tools": [{"type": "function", "name": "now", "parameters": None}]}, "strict"),
    ],
)
def test_openai_responses_refuses(changes: dict[str, Any], said: str) -> None:
    """What the Responses API refuses, with its error body."""
    refusal = OpenAISimulator().refusal(openai("/v1/responses", {**RESPONSE, **changes}))
    assert refusal is not None
    assert said in refusal.body["error"]["message"]


def test_openai_wants_its_reasoning_back_unchanged() -> None:
    """A reasoning item is taken as it was given out, before the item it led to."""
    simulator = OpenAISimulator()
    request = openai("/v1/responses", RESPONSE)
    answer: Any = simulator.document(request, Reply("Hi", thinking=[ScriptedThinking("Hm.")]))
    item = answer["output"][0]
    said = {"type": "message", "role": "assistant", "content": "Hi"}

    def refusal(*items: dict[str, Any]) -> object:
        return simulator.refusal(openai("/v1/responses", {**RESPONSE, "input": [TURN, *items]}))

    assert refusal(item, said, TURN) is None
    assert refusal({**item, "encrypted_content": "x"}, said, TURN)
    assert refusal(item)


def test_vllm_ignores_what_it_does_not_know() -> None:
    """A vLLM server is lenient with fields, and speaks its own errors."""
    simulator = VLLMSimulator()
    body = {"model": simulator.models[0], "messages": [USER], "top_k": 5}
    assert simulator.refusal(openai("/v1/chat/completions", body, key="any")) is None
    broken = {**body, "messages": [USER, {"role": "tool", "tool_call_id": "c", "content": "x"}]}
    refusal = simulator.refusal(openai("/v1/chat/completions", broken))
    assert refusal is not None
    assert refusal.body["error"]["type"] == "BadRequestError"
    assert simulator.refusal(openai("/v1/responses", body)) is not None


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-4.1", "/v1/models/none"])
async def test_the_models_can_be_listed(path: str) -> None:
    """The catalogue of the simulator, all or one."""
    async with OpenAISimulator() as simulator:
        status, body = await ask(simulator, "GET", path, None)
    assert status == (404 if path.endswith("none") else 200)
    assert "gpt-4.1" in json.dumps(body) or status == 404


async def test_a_script_is_played_in_order() -> None:
    """Each request takes the next reply; a refused one takes none."""
    async with OpenAISimulator() as simulator:
        simulator.reply("one", fault=Slow(0))
        simulator.reply_with(lambda request: Reply(request.json()["messages"][0]["content"]))
        refused = await ask(simulator, "POST", "/v1/chat/completions", {**CHAT, "unknown": 1})
        first = await ask(simulator, "POST", "/v1/chat/completions", CHAT)
        second = await ask(simulator, "POST", "/v1/chat/completions", CHAT)
        assert len(simulator.requests) == 3
    assert refused[0] == 400
    assert [answer[1]["choices"][0]["message"]["content"] for answer in (first, second)] == [
        "one",
        "Hi",
    ]


async def test_unused_replies_fail_the_test() -> None:
    async def unused(allow_unused: bool) -> None:
        async with AnthropicSimulator(allow_unused=allow_unused) as simulator:
            simulator.reply("Hi")

    with pytest.raises(ExceptionGroup) as caught:
        await unused(False)
    await unused(True)
    assert caught.group_contains(UnusedRepliesError, match="1 scripted replies of the Anthropic")


async def test_an_unscripted_request_fails_the_test() -> None:
    async def unscripted() -> None:
        async with OpenAISimulator() as simulator:
            status, body = await ask(simulator, "POST", "/v1/chat/completions", CHAT)
            assert status == 500
            assert "has no reply for POST" in body["error"]["message"]

    with pytest.raises(ExceptionGroup, match="OpenAISimulator failed") as caught:
        await unscripted()
    assert caught.group_contains(AssertionError, match="script one with reply")


async def test_a_failure_of_the_test_is_not_hidden() -> None:
    """What the test raised goes before what the simulator has to say."""

    async def failing() -> None:
        async with OpenAISimulator() as simulator:
            simulator.reply("Hi")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing()


async def test_faults_of_a_whole_answer() -> None:
    """A connection can break, a body can be anything, an error has its headers."""
    async with OpenAISimulator() as simulator:
        simulator.reply(fault=Drop())
        with pytest.raises(asyncio.IncompleteReadError):
            await ask(simulator, "POST", "/v1/chat/completions", CHAT)
        simulator.reply(fault=WrongShape([1]))
        assert await ask(simulator, "POST", "/v1/chat/completions", CHAT) == (200, [1])
        simulator.fail(ErrorCode.RATE_LIMIT, headers={"retry-after": "3"})
        assert (await ask(simulator, "POST", "/v1/chat/completions", CHAT))[0] == 429


async def test_what_is_no_http_is_hung_up_on() -> None:
    """Rubbish ends its own connection, and nothing else."""
    async with OpenAISimulator() as simulator:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(simulator))
        writer.write(b"\x16\x03\x01 not http\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        simulator.reply("Hi")
        assert (await ask(simulator, "POST", "/v1/chat/completions", CHAT))[0] == 200


def test_a_simulator_that_is_not_running_says_so() -> None:
    """Its address exists inside `async with` only."""
    with pytest.raises(RuntimeError, match="use it in `async with`"):
        _ = OpenAISimulator().base_url


def port_of(simulator: AISimulator) -> int:
    return int(simulator.origin.rpartition(":")[2])


async def ask(
    simulator: AISimulator, method: str, path: str, body: object, more_headers: str = "x-more: none"
) -> tuple[int, Any]:
    """Send one request over a socket of its own, and return the status and the JSON."""
    data = b"" if body is None else json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(simulator))
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
        f"Authorization: Bearer {simulator.api_key}\r\n{more_headers}\r\n\r\n"
    )
    writer.write(head.encode() + data)
    try:
        headers = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in headers.splitlines()
            if line.lower().startswith(b"content-length")
        )
        return int(headers.split()[1]), json.loads(await reader.readexactly(length))
    finally:
        writer.close()
