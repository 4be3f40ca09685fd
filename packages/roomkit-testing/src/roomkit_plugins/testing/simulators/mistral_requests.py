"""What the simulated Mistral API takes: the body of a request, the order of messages, and how it refuses.

A field that is not here is refused, as the vendor refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from roomkit_plugins.testing.simulators.ai import Failure


class MistralRefusedError(Exception):
    """A request that the API refuses; `failure` is its answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.body)
        self.failure = failure


def mistral_failure(status: int, kind: str, message: str, code: str) -> Failure:
    """Return an answer that reports an error in Mistral's words."""
    body = {"object": "error", "message": message, "type": kind, "param": None, "code": code}
    return Failure(status, body, {"mistral-correlation-id": "correlation-simulated"})


def invalid_request(message: str) -> Failure:
    """Return the answer to a request that is wrong."""
    return mistral_failure(400, "invalid_request_error", message, "3230")


def refused(message: str) -> MistralRefusedError:
    """Return what refuses a request that is wrong."""
    return MistralRefusedError(invalid_request(message))


def unprocessable(error: ValidationError) -> Failure:
    """Return the answer to a body that does not validate: every field that is wrong."""
    problems = [
        {"type": each["type"], "loc": ["body", *each["loc"]], "msg": each["msg"]}
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    body = {
        "object": "error",
        "message": {"detail": problems},
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    return Failure(422, body, {"mistral-correlation-id": "correlation-simulated"})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


type _Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
type _CallId = Annotated[str, Field(pattern=r"^[a-zA-Z0-9]{9}$")]
type _ImageURL = Annotated[str, Field(pattern=r"^(https?://|data:image/(png|jpeg|webp|gif);base64,)")]


class _Text(_Strict):
    type: Literal["text"]
    text: str


class _ImageRef(_Strict):
    url: _ImageURL
    detail: Literal["auto", "low", "high"] | None = None


class _Image(_Strict):
    type: Literal["image_url"]
    image_url: _ImageURL | _ImageRef


class Thinking(_Strict):
    """A thought that comes back as the API gave it out."""

    type: Literal["thinking"]
    thinking: list[_Text]
    signature: str | None = None
    closed: bool = True

    @property
    def text(self) -> str:
        """The thought in one piece."""
        return "".join(part.text for part in self.thinking)


class _Function(_Strict):
    name: _Name
    arguments: str


class _Call(_Strict):
    id: _CallId
    type: Literal["function"] = "function"
    function: _Function
    index: int = 0


class _System(_Strict):
    role: Literal["system"]
    content: str | list[_Text]


class _User(_Strict):
    role: Literal["user"]
    content: (
        str | Annotated[list[Annotated[_Text | _Image, Field(discriminator="type")]], Field(min_length=1)]
    )


class MistralAssistant(_Strict):
    """What the model said before."""

    role: Literal["assistant"]
    content: str | list[Annotated[_Text | Thinking, Field(discriminator="type")]] | None = None
    tool_calls: Annotated[list[_Call], Field(min_length=1)] | None = None
    prefix: bool = False


class _Tool(_Strict):
    role: Literal["tool"]
    content: str | list[_Text]
    tool_call_id: _CallId
    name: _Name | None = None


type Message = Annotated[_System | _User | MistralAssistant | _Tool, Field(discriminator="role")]


class _Declared(_Strict):
    name: _Name
    description: str = ""
    parameters: dict[str, JsonValue]
    strict: bool = False


class _Offer(_Strict):
    type: Literal["function"] = "function"
    function: _Declared


class _ChosenFunction(_Strict):
    name: str


class _Choice(_Strict):
    type: Literal["function"] = "function"
    function: _ChosenFunction


class _Shape(_Strict):
    name: _Name
    schema_: Annotated[dict[str, JsonValue], Field(alias="schema")]
    description: str | None = None
    strict: bool = False


class _Format(_Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Shape | None = None


class MistralBody(_Strict):
    """A request of the chat API."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    temperature: Annotated[float, Field(ge=0, le=1.5)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stream: bool = False
    stop: str | list[str] | None = None
    random_seed: int | None = None
    response_format: _Format | None = None
    tools: list[_Offer] = Field(default_factory=list)
    tool_choice: Literal["auto", "none", "any", "required"] | _Choice | None = None
    parallel_tool_calls: bool = True
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    prompt_mode: Literal["reasoning"] | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["standard", "priority"] | None = None
    safe_prompt: bool = False


def check_tools(body: MistralBody) -> None:
    """Check the names of tools and the choice. Raises MistralRefusedError."""
    names = [tool.function.name for tool in body.tools]
    if len(set(names)) != len(names):
        raise refused("Duplicate function name in tools.")
    if body.tool_choice in (None, "auto", "none"):
        return
    if not names:
        raise refused("Tool choice is set, but no tools were provided.")
    if isinstance(body.tool_choice, _Choice) and body.tool_choice.function.name not in names:
        raise refused(f"Function {body.tool_choice.function.name} of tool_choice is not among the tools.")


def check_format(body: MistralBody) -> None:
    """Check the shape of the answer that is asked for. Raises MistralRefusedError."""
    asked = body.response_format
    if asked is None or asked.type != "json_schema":
        return
    if asked.json_schema is None:
        raise refused("response_format of type json_schema needs a json_schema.")
    if asked.json_schema.strict:
        _check_closed(asked.json_schema.schema_)


def _check_closed(schema: JsonValue) -> None:
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "additionalProperties" not in schema:
            raise refused("Invalid schema: with strict, every object says additionalProperties.")
        for each in schema.values():
            _check_closed(each)
    elif isinstance(schema, list):
        for each in schema:
            _check_closed(each)


_FOLLOWS = {
    None: ("system", "user"),
    "system": ("system", "user"),
    "user": ("user", "system", "assistant"),
    "assistant": ("user", "system", "tool"),
    "tool": ("tool", "assistant"),
}
"""The roles that may stand after a role."""


def check_order(messages: Sequence[Message]) -> None:
    """Check the order of roles, and that each call has one result. Raises MistralRefusedError."""
    last: str | None = None
    open_calls: list[str] = []
    seen: set[str] = set()
    for message in messages:
        if message.role not in _FOLLOWS[last]:
            raise refused(f"Unexpected role '{message.role}' after role '{last}'")
        if isinstance(message, _Tool):
            if message.tool_call_id not in open_calls:
                raise refused(f"Unexpected tool call id {message.tool_call_id} in tool results")
            open_calls.remove(message.tool_call_id)
        elif open_calls:
            raise refused("Not the same number of function calls and responses")
        if isinstance(message, MistralAssistant):
            open_calls = _calls(message, seen)
        last = message.role
    if open_calls or last not in ("user", "tool"):
        raise refused(f"Expected last role User or Tool (or Assistant with prefix True) but got {last}")


def _calls(message: MistralAssistant, seen: set[str]) -> list[str]:
    calls = [call.id for call in message.tool_calls or ()]
    if not calls and not message.content:
        raise refused("Assistant message must have either content or tool_calls, but not none.")
    if len(set(calls)) != len(calls) or seen & set(calls):
        raise refused("Duplicate tool call id in assistant messages.")
    seen.update(calls)
    return calls


def thoughts(messages: Sequence[Message]) -> list[Thinking]:
    """Return every thought of the conversation."""
    said = [message.content for message in messages if isinstance(message, MistralAssistant)]
    chunks = [chunk for content in said if isinstance(content, list) for chunk in content]
    return [chunk for chunk in chunks if isinstance(chunk, Thinking)]
