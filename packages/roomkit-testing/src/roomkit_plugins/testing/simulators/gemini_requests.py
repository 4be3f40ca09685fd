"""What the simulated Gemini API takes: the body of a request, the order of contents, and how it refuses.

A field that is not here is refused, as the vendor refuses it. Names come in camel or in snake case, because
the vendor reads JSON by the rules of Protocol Buffers, and its own SDK mixes both.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from roomkit_plugins.testing.simulators.ai import Failure

SKIP = b"skip_thought_signature_validator"
"""What stands in for the signature of a call that Gemini did not make."""

_SCHEMA_KEYWORDS = frozenset(
    {
        "$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items",
        "prefixItems", "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties",
        "additionalProperties", "required", "propertyOrdering",
    }
)  # fmt: skip


class GeminiRefusedError(Exception):
    """A request that the API refuses; `failure` is its answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.body)
        self.failure = failure


def gemini_failure(status: int, word: str, message: str, *details: Mapping[str, Any]) -> Failure:
    """Return an answer that reports an error in Google's words."""
    error = {"code": status, "message": message, "status": word}
    return Failure(status, {"error": {**error, "details": list(details)} if details else error})


def invalid_argument(message: str) -> Failure:
    """Return the answer to a request that is wrong."""
    return gemini_failure(400, "INVALID_ARGUMENT", message)


def refused(message: str) -> GeminiRefusedError:
    """Return what refuses a request that is wrong."""
    return GeminiRefusedError(invalid_argument(message))


def first_unknown(error: ValidationError) -> Failure:
    """Describe the faults of a body that does not validate."""
    first = max(error.errors(include_url=False), key=lambda problem: len(problem["loc"]))
    *path, name = (str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        where = f" at '{'.'.join(path)}'" if path else ""
        return invalid_argument(
            f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
        )
    return invalid_argument(f"Invalid value at '{'.'.join([*path, name])}': {first['msg']}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError("Base64 decoding failed") from error


type _Base64 = Annotated[str, AfterValidator(lambda text: _bytes(text) and text)]
type _Name = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}$")]


class _Blob(_Strict):
    mime_type: Annotated[str, Field(pattern=r"^image/(png|jpeg|webp|heic|heif|gif)$")]
    data: Annotated[str, Field(min_length=1), AfterValidator(lambda text: _bytes(text) and text)]


class _FileData(_Strict):
    mime_type: Annotated[str, Field(pattern=r"^image/")]
    file_uri: Annotated[str, Field(pattern=r"^(https|gs)://")]


class FunctionCall(_Strict):
    """A call that comes back as the API gave it out."""

    id: Annotated[str, Field(max_length=64)] = ""
    name: _Name
    args: dict[str, JsonValue] = Field(default_factory=dict)


class FunctionResponse(_Strict):
    """What the function answered."""

    id: Annotated[str, Field(max_length=64)] = ""
    name: _Name
    response: dict[str, JsonValue]


class Part(_Strict):
    """A part of a content: exactly one kind of data, and what Gemini signed."""

    text: str | None = None
    thought: bool = False
    thought_signature: _Base64 | None = None
    inline_data: _Blob | None = None
    file_data: _FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Part:
        data = (self.text, self.inline_data, self.file_data, self.function_call, self.function_response)
        if sum(value is not None for value in data) != 1:
            raise ValueError("oneof field 'data': required, and one of its members only")
        if self.text == "" and not self.thought_signature:
            raise ValueError("contents.parts must not be empty")
        return self

    @property
    def token(self) -> bytes | None:
        """The signature, decoded."""
        return None if self.thought_signature is None else _bytes(self.thought_signature)


class Content(_Strict):
    """One turn of a side."""

    role: Literal["user", "model"]
    parts: Annotated[list[Part], Field(min_length=1)]

    @property
    def calls(self) -> list[FunctionCall]:
        """The function calls in it."""
        return [part.function_call for part in self.parts if part.function_call is not None]

    @property
    def responses(self) -> list[FunctionResponse]:
        """The function responses in it."""
        return [part.function_response for part in self.parts if part.function_response is not None]


class _Instruction(_Strict):
    role: str | None = None
    parts: Annotated[list[Part], Field(min_length=1)]


class _Declaration(_Strict):
    name: _Name
    description: str = ""
    parameters_json_schema: dict[str, JsonValue] | None = None


class _Tool(_Strict):
    function_declarations: Annotated[list[_Declaration], Field(min_length=1)]


class _Calling(_Strict):
    mode: Literal["AUTO", "ANY", "NONE", "VALIDATED"] = "AUTO"
    allowed_function_names: list[str] = Field(default_factory=list)


class _ToolConfig(_Strict):
    function_calling_config: _Calling | None = None


class _Thinking(_Strict):
    include_thoughts: bool = False
    thinking_level: Literal["MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"] | None = None
    thinking_budget: Annotated[int, Field(ge=-1, le=32768)] | None = None


class _Generation(_Strict):
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: int | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=65536)] | None = None
    stop_sequences: Annotated[list[str], Field(max_length=5)] = Field(default_factory=list)
    thinking_config: _Thinking | None = None
    response_mime_type: Literal["text/plain", "application/json"] = "text/plain"
    response_json_schema: dict[str, JsonValue] | None = None
    seed: int | None = None


class _Safety(_Strict):
    category: Literal[
        "HARM_CATEGORY_HARASSMENT",
        "HARM_CATEGORY_HATE_SPEECH",
        "HARM_CATEGORY_SEXUALLY_EXPLICIT",
        "HARM_CATEGORY_DANGEROUS_CONTENT",
        "HARM_CATEGORY_CIVIC_INTEGRITY",
    ]
    threshold: Literal[
        "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"
    ]


class ContentBody(_Strict):
    """A request for an answer."""

    contents: Annotated[list[Content], Field(min_length=1)]
    system_instruction: _Instruction | None = None
    tools: list[_Tool] = Field(default_factory=list)
    tool_config: _ToolConfig | None = None
    generation_config: _Generation = Field(default_factory=_Generation)
    safety_settings: list[_Safety] = Field(default_factory=list)
    cached_content: Annotated[str, Field(pattern=r"^cachedContents/.+")] | None = None
    service_tier: Literal["standard", "flex", "priority"] | None = None
    labels: dict[str, str] = Field(default_factory=dict)


class _Counted(ContentBody):
    model: Annotated[str, Field(pattern=r"^models/.+")]


class _Count(_Strict):
    generate_content_request: _Counted


def counted_body(body: bytes) -> ContentBody:
    """Read a request to count tokens. Raises ValidationError."""
    return _Count.model_validate_json(body).generate_content_request


def check_generation(body: ContentBody, model: str) -> None:
    """Check that the model thinks in the way that is asked for. Raises GeminiRefusedError."""
    generation = body.generation_config
    thinking = generation.thinking_config
    if generation.response_json_schema is not None:
        if generation.response_mime_type != "application/json":
            raise refused("response_json_schema requires response_mime_type 'application/json'.")
        check_schema(generation.response_json_schema, "response_json_schema")
        if body.tools and model.startswith("gemini-2"):
            raise refused("Function calling with a response mime type: 'application/json' is unsupported")
    if thinking is None:
        return
    if thinking.thinking_level is not None and thinking.thinking_budget is not None:
        raise refused("You can only set only one of thinking budget and thinking level.")
    if thinking.thinking_level is not None and model.startswith("gemini-2"):
        raise refused("Thinking level is not supported for this model.")
    if thinking.thinking_budget == 0 and model.startswith(("gemini-3", "gemini-2.5-pro")):
        raise refused("Budget 0 is invalid. This model only works in thinking mode.")


def check_tools(body: ContentBody) -> None:
    """Check the declarations and the choice. Raises GeminiRefusedError."""
    names = [each.name for tool in body.tools for each in tool.function_declarations]
    if body.cached_content and (body.tools or body.system_instruction or body.tool_config):
        raise refused(
            "CachedContent can not be used with GenerateContent request setting system_instruction, tools "
            "or tool_config."
        )
    if doubled := {name for name in names if names.count(name) > 1}:
        raise refused(f"Duplicate function declaration found: {', '.join(sorted(doubled))}")
    for tool in body.tools:
        for each in tool.function_declarations:
            if each.parameters_json_schema is not None:
                check_schema(each.parameters_json_schema, each.name)
    calling = body.tool_config and body.tool_config.function_calling_config
    if not calling:
        return
    if calling.mode == "ANY" and not names:
        raise refused("Function calling config is set without function_declarations.")
    if calling.allowed_function_names and calling.mode not in ("ANY", "VALIDATED"):
        raise refused("allowed_function_names should only be set when the mode is ANY.")
    if unknown := [name for name in calling.allowed_function_names if name not in names]:
        raise refused(f"allowed_function_names has names that are not declared: {', '.join(unknown)}")


def check_schema(schema: Mapping[str, Any], where: str) -> None:
    """Check that a JSON Schema stays in the vendor's subset. Raises GeminiRefusedError."""
    if unknown := set(schema) - _SCHEMA_KEYWORDS:
        raise refused(f"{where}: unsupported JSON Schema keywords: {', '.join(sorted(unknown))}")
    if "$ref" in schema and any(not name.startswith("$") for name in schema):
        raise refused(f"{where}: $ref can not be set with other properties.")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            check_schema(schema[name], f"{where}.{name}")
    for name in ("anyOf", "oneOf", "prefixItems"):
        for at, each in enumerate(schema.get(name, ())):
            check_schema(each, f"{where}.{name}.{at}")
    for name in ("properties", "$defs"):
        for key, each in schema.get(name, {}).items():
            check_schema(each, f"{where}.{key}")


def check_contents(contents: Sequence[Content], issued: Mapping[bytes, str]) -> None:
    """Check the order of turns, calls and responses, and signatures. Raises GeminiRefusedError."""
    if contents[0].role != "user":
        raise refused("Please ensure that multiturn requests begin with a user turn.")
    if contents[-1].role != "user":
        raise refused("Please ensure that multiturn requests end with a user turn or a function response.")
    for place, content in enumerate(contents):
        if place and content.role == contents[place - 1].role:
            raise refused("Please ensure that multiturn requests alternate between user and model.")
        if (content.role == "model" and content.responses) or (content.role == "user" and content.calls):
            raise refused(f"contents[{place}]: a {content.role} turn cannot hold this part.")
        if content.role == "user":
            _check_responses(contents[place - 1].calls if place else [], content.responses)
        for part in content.parts:
            if part.token is not None and part.token != SKIP and part.token not in issued:
                raise refused(f"contents[{place}]: Thought signature is not valid.")
    _check_signed(contents)


def _check_responses(calls: Sequence[FunctionCall], responses: Sequence[FunctionResponse]) -> None:
    if len(calls) != len(responses):
        raise refused(
            "Please ensure that the number of function response parts is equal to the number of function "
            "call parts of the function call turn."
        )
    if sorted((call.id, call.name) for call in calls) != sorted((each.id, each.name) for each in responses):
        raise refused("Please ensure that function responses have the ids and names of their calls.")


def _check_signed(contents: Sequence[Content]) -> None:
    """Check that in the current turn the first call of each step is signed."""
    asked = [place for place, content in enumerate(contents) if content.role == "user"]
    current = next(
        (at for at in reversed(asked) if any(p.function_response is None for p in contents[at].parts)), 0
    )
    for place, content in enumerate(contents[current:], current):
        first = next((part for part in content.parts if part.function_call is not None), None)
        if first is not None and first.token is None:
            raise refused(
                "Function call is missing a thought_signature in functionCall parts. This is required for "
                f"tools to work correctly. Additional data, function call in contents[{place}]."
            )
