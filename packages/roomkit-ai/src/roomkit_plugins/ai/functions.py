"""Python functions as tools: parameters from their signature, words from their docstring."""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import re
import sys
import typing
from collections.abc import Awaitable, Callable, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, overload, override

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_json

from roomkit.abc.errors import InvalidInputError, ProviderError
from roomkit.models.ai import AITool
from roomkit.models.channel import RetryPolicy
from roomkit.models.parking import Park
from roomkit.models.tool import ToolResult, ToolUse
from roomkit_plugins.ai.running import current_tool_call, refused
from roomkit_plugins.ai.threads import TOOL_THREADS

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["FunctionTool", "tool"]

type ToolFunction = Callable[..., object]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_NO_RETRIES = RetryPolicy(max_retries=0)


class FunctionTool:
    """A Python function that a model may call; see `tool`. Calling it calls the function."""

    __slots__ = (
        "_context",
        "_fields",
        "_function",
        "_model",
        "_places",
        "_retries",
        "_retry_on",
        "definition",
        "timeout",
    )

    def __init__(
        self,
        function: ToolFunction,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        concurrency: int | None = None,
        retries: RetryPolicy = _NO_RETRIES,
        retry_on: tuple[type[Exception], ...] = (),
    ) -> None:
        named = _named(function, name)
        words = _Words(inspect.getdoc(_underlying(function)[0]) or "")
        self._function = function
        self._context, self._fields = _parameters(named, function)
        self._model = _model(named, function, self._fields, words)
        self._retries, self._retry_on = retries, retry_on
        self._places = _places(named, concurrency)
        self.timeout = _seconds(named, timeout)
        self.definition = AITool(
            name=named,
            description=words.description if description is None else description,
            parameters=_schema(named, self._model),
        )

    def __repr__(self) -> str:
        return f"FunctionTool({self.definition.name!r})"

    def __call__(self, *arguments: Any, **named: Any) -> object:
        """Call the function, as if it were no tool."""
        return self._function(*arguments, **named)

    async def handler(self, name: str, arguments: dict[str, Any]) -> str | ToolResult | Park:
        """Answer a call of the model."""
        try:
            given = self._model.model_validate(arguments)
        except ValidationError as error:
            return ToolResult(text=refused(_problems(error)), is_error=True)
        values = {parameter: getattr(given, field) for field, parameter in self._fields.items()}
        if self._context is not None:
            values[self._context] = current_tool_call()
        return _answer(await self._tried(values))

    async def _tried(self, values: Mapping[str, object]) -> object:
        for retry in range(self._retries.max_retries):
            try:
                return await self._called(values)
            except Exception as error:
                if not self._may_pass(error):
                    raise
            await asyncio.sleep(self._retries.delay(retry, spread=random.uniform(-1, 1)))
        return await self._called(values)

    async def _called(self, values: Mapping[str, object]) -> object:
        if inspect.iscoroutinefunction(self._function):
            async with self._places:
                return await self._function(**values)
        await self._places.acquire()
        call = _ThreadCall(functools.partial(copy_context().run, self._function, **values))
        work: asyncio.Future[object] | None = None
        try:
            work = asyncio.get_running_loop().run_in_executor(TOOL_THREADS, call)
            result = await asyncio.shield(work)
            return await result if isinstance(result, Awaitable) else result
        finally:
            call.is_wanted = False
            if work is None or work.done():
                self._places.release()
            else:  # nothing can stop the thread
                work.add_done_callback(lambda _: self._places.release())

    def _may_pass(self, error: Exception) -> bool:
        if isinstance(error, ProviderError):
            return error.retryable
        return isinstance(error, (ConnectionError, TimeoutError, *self._retry_on))


@overload
def tool(
    function: ToolFunction,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    concurrency: int | None = None,
    retries: RetryPolicy = _NO_RETRIES,
    retry_on: tuple[type[Exception], ...] = (),
) -> FunctionTool: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    concurrency: int | None = None,
    retries: RetryPolicy = _NO_RETRIES,
    retry_on: tuple[type[Exception], ...] = (),
) -> Callable[[ToolFunction], FunctionTool]: ...


def tool(function: object = None, /, **options: Any) -> object:
    """Make a tool of a function: `tool(function, ...)`, or `@tool(...)` above it.

    A plain function among an agent's `tools` is one too; this is for options:

    - `name` and `description` replace the function's name and the beginning of its docstring.
    - `timeout` in seconds replaces the agent's deadline for a call, waits and retries included.
    - `concurrency` is how many calls may run at once in this process, over all rooms; others wait. A thread
      that goes on after its call's deadline is one of them.
    - `retries` says how often, and after which waits, a call is made again that failed with a retryable
      `ProviderError`, a ConnectionError, a TimeoutError or an error of `retry_on`. By default it is not: only
      the author knows whether the function may run twice.

    The arguments' names, types and defaults are those of the signature; descriptions are those of the
    docstring (Google, NumPy or Sphinx style), or `Annotated[str, Field(description=...)]`. The function gets
    values of the annotated types, models among them. A parameter annotated with `ToolUse` is not the model's:
    it gets the call, with its room, its id and the participant whom the agent is answering. Arguments that a
    `functools.partial` has already are not the model's either.

    A coroutine function runs on the loop, any other in one of 32 threads for tools; beyond them calls wait,
    and one whose deadline comes first is not made. A thread cannot be interrupted: after its deadline its
    result does not count, but it runs to its end. Text is the model's as it is returned, and so
    are `ToolResult` and `Park`; other values become JSON. An exception is reported to the model in one line.

    Raises InvalidInputError for what cannot be described: no name, a parameter without a type or with one
    that JSON cannot carry, `*args`, or an annotation that cannot be found at run time.
    """
    if function is None:
        return lambda decorated: tool(decorated, **options)
    if not callable(function) or isinstance(function, type):
        raise InvalidInputError(f"{function!r:.200} is not a function: pass one, or an AITool with a handler")
    return FunctionTool(function, **options)


class _ThreadCall:
    """A call that waits for a thread; one that is not wanted any more by then is not made."""

    __slots__ = ("_function", "is_wanted")

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self.is_wanted = True

    def __call__(self) -> object:
        return self._function() if self.is_wanted else None


class _Words:
    """The words of a docstring: for the tool, and for each parameter."""

    def __init__(self, text: str) -> None:
        # Imported here: most agents have no functions as tools.
        from docstring_parser import parse

        found = parse(text)
        parts = (found.short_description, found.long_description)
        self.description = "\n\n".join(part for part in parts if part)
        self.parameters = {each.arg_name: each.description for each in found.params if each.description}


class _Generator(GenerateJsonSchema):
    """Leaves out titles, which repeat the names, and defaults that JSON cannot carry."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as in the base

    @override
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _named(function: ToolFunction, name: str | None) -> str:
    found = name if name is not None else getattr(function, "__name__", "")
    if _NAME.fullmatch(found) is None:
        raise InvalidInputError(
            f"{function!r:.200} has no name that a model can call ({found!r}): pass tool(function, name=...) "
            "with at most 64 letters, digits, - and _"
        )
    return found


def _places(name: str, concurrency: int | None) -> asyncio.Semaphore:
    if concurrency is None:
        return asyncio.Semaphore(sys.maxsize)
    if concurrency < 1:
        raise InvalidInputError(
            f"the tool {name!r} cannot run with concurrency {concurrency}: pass 1 or more"
        )
    return asyncio.Semaphore(concurrency)


def _seconds(name: str, timeout: float | None) -> float | None:
    if timeout is not None and not timeout > 0:
        raise InvalidInputError(f"the tool {name!r} cannot have the timeout {timeout}: pass seconds above 0")
    return timeout


def _undescribed(name: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"the function {name!r} cannot be a tool: {why}")


def _signature(name: str, function: ToolFunction) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise _undescribed(name, f"its signature is not known ({error}); wrap it in a function") from error


def _underlying(function: ToolFunction) -> tuple[ToolFunction, set[str]]:
    """Return what a partial calls, and the arguments that it has already."""
    given: set[str] = set()
    while isinstance(function, functools.partial):
        given |= function.keywords.keys()
        function = function.func
    return function, given


def _hints(name: str, function: ToolFunction) -> dict[str, Any]:
    underlying, _ = _underlying(function)
    described = underlying if inspect.isroutine(underlying) else type(underlying).__call__
    try:
        return typing.get_type_hints(inspect.unwrap(described), include_extras=True)
    except (NameError, TypeError) as error:
        raise _undescribed(
            name, f"an annotation cannot be read ({error}); import its types outside TYPE_CHECKING"
        ) from error


def _parameters(name: str, function: ToolFunction) -> tuple[str | None, dict[str, str]]:
    """Return the parameter that gets the call, and the others by the names of their fields."""
    hints = _hints(name, function)
    _, given = _underlying(function)
    context: list[str] = []  # bound: parameters
    fields: dict[str, str] = {}
    for parameter in _signature(name, function).parameters.values():
        if parameter.name in given:
            continue  # the model could replace it
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise _undescribed(name, f"a model names its arguments, so {parameter} cannot be filled")
        if parameter.name not in hints:
            raise _undescribed(name, f"the parameter {parameter.name!r} has no type; annotate it")
        if hints[parameter.name] in (ToolUse, ToolUse | None):
            context.append(parameter.name)
        else:
            fields[f"argument_{len(fields)}"] = parameter.name
    if len(context) > 1:
        raise _undescribed(name, f"the call is asked for more than once: {', '.join(context)}")
    return next(iter(context), None), fields


def _model(name: str, function: ToolFunction, fields: Mapping[str, str], words: _Words) -> type[BaseModel]:
    """Return the model of the arguments. Its fields have names of their own: a parameter may have any."""
    hints, parameters = _hints(name, function), _signature(name, function).parameters
    described: dict[str, Any] = {
        field: (hints[parameter], _field(parameters[parameter])) for field, parameter in fields.items()
    }
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=False)
    try:
        made = create_model(name, __config__=config, **described)
        for field, parameter in fields.items():
            if made.model_fields[field].description is None:
                made.model_fields[field].description = words.parameters.get(parameter)
        made.model_rebuild(force=True)
    except PydanticUserError as error:
        first = str(error).partition("\n")[0]
        raise _undescribed(name, f"a parameter has a type that JSON cannot carry: {first}") from error
    return made


def _field(parameter: inspect.Parameter) -> FieldInfo:
    default = ... if parameter.default is parameter.empty else parameter.default
    made: FieldInfo = Field(default, alias=parameter.name)
    return made


def _schema(name: str, model: type[BaseModel]) -> dict[str, Any]:
    try:
        schema = model.model_json_schema(schema_generator=_Generator)
    except PydanticUserError as error:
        first = str(error).partition("\n")[0]
        raise _undescribed(name, f"a parameter has a type that JSON cannot carry: {first}") from error
    return {key: value for key, value in schema.items() if key != "title"}


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    listed = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found[:5])
    return f"invalid arguments, correct them and call again: {listed}"


def _answer(result: object) -> str | ToolResult | Park:
    if isinstance(result, str | ToolResult | Park):
        return result
    return "" if result is None else to_json(result, fallback=str, inf_nan_mode="strings").decode()
