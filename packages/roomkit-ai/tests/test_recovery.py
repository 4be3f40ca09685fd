"""Second chances: retry, fallback, compaction; and what never happens twice."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import (
    AIImagePart,
    AIMessage,
    AIThinkingPart,
    AIToolCall,
    AIToolCallPart,
    AIToolResultPart,
)
from roomkit.models.channel import RetryPolicy
from roomkit.models.content import MediaContent
from roomkit_plugins.ai.generation import Seam
from roomkit_plugins.ai.overflow import cut, shortened
from roomkit_plugins.ai.shape import parts_in, well_formed
from roomkit_plugins.testing import MockAIProvider

pytestmark = pytest.mark.virtual_time

RETRY = RetryPolicy(max_retries=2, base_delay_seconds=1, jitter=0)
CLASSES = list(ErrorCode)


def failing(code=ErrorCode.OVERLOADED, **fields):
    return ProviderError(f"failed: {code}", error_code=code, **fields)


async def test_a_retryable_failure_is_tried_again(stage):
    """After the policy's delays, on the loop's clock."""
    provider = stage.provider(failing(), failing(), "Hello.")
    began = asyncio.get_running_loop().time()
    heard = await stage.ask(stage.agent(provider, retry_policy=RETRY), "Hi")
    assert heard.text == "Hello."
    assert asyncio.get_running_loop().time() - began == 1 + 2


async def test_retries_end(stage):
    """Then the failure is raised."""
    provider = stage.provider(failing())
    heard = await stage.ask(stage.agent(provider, retry_policy=RETRY), "Hi", catch=True)
    assert isinstance(heard.error, ProviderError)
    assert len(provider.calls) == 3


async def test_without_a_policy_there_is_one_attempt(stage):
    """Nothing is retried unless the user says so."""
    provider = stage.provider(failing())
    await stage.ask(stage.agent(provider), "Hi", catch=True)
    assert len(provider.calls) == 1


@pytest.mark.parametrize("code", CLASSES)
async def test_only_what_may_pass_is_tried_again(stage, code):
    """By the class of the error, not by its words: a permanent one makes one attempt."""
    provider = stage.provider(failing(code))
    await stage.ask(stage.agent(provider, retry_policy=RETRY), "Hi", catch=True)
    assert len(provider.calls) == (3 if code.retryable else 1)


async def test_the_vendors_wish_is_kept(stage):
    """`retry_after` is waited for when it is longer than the policy's delay."""
    provider = stage.provider(failing(ErrorCode.RATE_LIMIT, retry_after=20.0), "Hello.")
    began = asyncio.get_running_loop().time()
    await stage.ask(stage.agent(provider, retry_policy=RETRY), "Hi")
    assert asyncio.get_running_loop().time() - began == 20


async def test_a_wait_beyond_the_deadline_is_not_begun(stage):
    """The failure is raised at once instead of a timeout later."""
    provider = stage.provider(failing(ErrorCode.RATE_LIMIT, retry_after=3600.0))
    began = asyncio.get_running_loop().time()
    heard = await stage.ask(stage.agent(provider, retry_policy=RETRY), "Hi", catch=True)
    assert heard.error.error_code is ErrorCode.RATE_LIMIT
    assert asyncio.get_running_loop().time() == began


async def test_the_fallback_answers_after_the_retries(stage):
    """Once, and the answer says who made it."""
    provider, fallback = stage.provider(failing()), stage.provider("Hello.")
    agent = stage.agent(provider, retry_policy=RETRY, fallback_provider=fallback)
    heard = await stage.ask(agent, "Hi")
    assert heard.text == "Hello."
    assert (len(provider.calls), len(fallback.calls)) == (3, 1)


async def test_when_the_fallback_fails_too_the_first_failure_is_raised(stage):
    first, second = failing(ErrorCode.AUTH), failing(ErrorCode.SERVER)
    agent = stage.agent(stage.provider(first), fallback_provider=stage.provider(second), retry_policy=RETRY)
    heard = await stage.ask(agent, "Hi", catch=True)
    assert heard.error is first
    assert first.__cause__ is second
    assert first.__notes__ == ["the fallback mock failed too: server"]
    assert len(agent.fallback_provider.calls) == 1


@pytest.mark.parametrize(
    "code", [ErrorCode.INVALID_REQUEST, ErrorCode.CONTENT_FILTER, ErrorCode.REFUSAL, ErrorCode.CANCELED]
)
async def test_what_is_wrong_with_the_request_is_not_put_to_the_fallback(stage, code):
    """Another vendor would say the same, or should not be asked."""
    fallback = stage.provider("Hello.")
    agent = stage.agent(stage.provider(failing(code)), fallback_provider=fallback)
    await stage.ask(agent, "Hi", catch=True)
    assert fallback.calls == []


async def test_a_turn_stays_with_the_fallback(stage, script):
    """And is spared what only the first vendor can read: signed reasoning, opaque data, images."""
    image = MediaContent(url="https://x/p.png", mime_type="image/png", caption="My cat")
    thought = AIThinkingPart(thinking="Hm.", signature="sig")
    call = AIToolCall(id="c1", name="look", metadata={"signature": "sig"})
    provider = stage.provider(script.calls(call, thinking_parts=[thought]), failing(), vision=True)
    fallback = stage.provider(script.calls("look"), script.says("Done."))

    async def look(name, arguments):
        return "seen"

    agent = stage.agent(provider, fallback_provider=fallback, tools=[(script.tool("look"), look)])
    heard = await stage.ask(agent, stage.event(image))
    assert heard.text == "Done."
    assert (len(provider.calls), len(fallback.calls)) == (2, 2)
    question, asked, _ = fallback.calls[0].messages
    assert [part.text for part in question.content] == ["My cat", "[image]"]
    (moved,) = asked.content
    assert (moved.id, moved.metadata) == ("c1", {})


PHOTO = MediaContent(url="data:image/heic;base64,AAAA", mime_type="image/heic", caption="My cat")


@pytest.fixture
def picky(stage):
    """Return a maker of models that read pictures, and refuse requests that hold this one."""

    class Picky(type(stage.provider())):
        def __init__(self, error, *answers):
            super().__init__(list(answers) or None, vision=True, streaming=stage.streaming)
            self.error = error

        def refuse(self, context):
            parts = [part for message in context.messages for part in parts_in(message)]
            if any(isinstance(part, AIImagePart) and "heic" in part.url for part in parts):
                self.calls.append(context)
                raise self.error

        async def generate(self, context):
            self.refuse(context)
            return await super().generate(context)

        async def generate_structured_stream(self, context):
            self.refuse(context)
            async for item in super().generate_structured_stream(context):
                yield item

    return Picky


REFUSALS = [
    failing(ErrorCode.UNSUPPORTED_CONTENT),
    failing(ErrorCode.INVALID_REQUEST, status_code=400),
    failing(ErrorCode.CONTENT_FILTER, status_code=400),
    failing(ErrorCode.TOO_LONG, status_code=413),
]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: str(error.error_code))
async def test_a_refused_picture_fails_one_turn(stage, picky, error):
    """The one that answers it, with the vendor's error; to later ones a note stands for it."""
    provider = picky(error, "Hello.", "Still here.")
    agent = stage.agent(provider)
    assert (await stage.ask(agent, stage.event(PHOTO), catch=True)).error is error
    assert len(provider.calls) == 1
    for text in ("Are you there?", "Hello??"):
        heard = await stage.ask(agent, text)
        assert heard.text
        (message,) = provider.calls[-1].messages
        assert [part.text for part in message.content] == [
            "My cat",
            "[image: image/heic]",
            *heard_so_far(stage),
        ]
    assert len(provider.calls) == 1 + 2 + 2


def heard_so_far(stage):
    return [event.content.body for event in stage.events if event.content.type == "text"]


async def test_a_request_without_pictures_is_not_asked_again(stage):
    """A refusal that no picture can be the reason of is final at once."""
    provider = stage.provider(failing(ErrorCode.INVALID_REQUEST, status_code=400), vision=True)
    await stage.ask(stage.agent(provider), "Hi", catch=True)
    assert len(provider.calls) == 1


async def test_pictures_that_are_taken_stay(stage):
    """Older ones are shown again in every turn, as long as the vendor takes them."""
    provider = stage.provider("A cat.", "Yes.", vision=True)
    agent = stage.agent(provider)
    await stage.ask(agent, stage.event(PHOTO))
    await stage.ask(agent, "Sure?")
    assert [part.type for part in provider.calls[1].messages[0].content] == ["text", "image", "text"]


async def test_the_fallback_may_refuse_older_pictures_too(stage, picky):
    """It is asked without them, as the first provider would be."""
    stage.event(PHOTO)
    fallback = picky(failing(ErrorCode.UNSUPPORTED_CONTENT), "Hello.")
    agent = stage.agent(stage.provider(failing(), vision=True), fallback_provider=fallback)
    assert (await stage.ask(agent, "Hi")).text == "Hello."
    assert len(fallback.calls) == 2


@pytest.mark.parametrize("vision", [True, False])
async def test_a_picture_to_be_answered_goes_to_a_fallback_that_sees(stage, picky, vision):
    """Another vendor may read what this one cannot; one that reads no pictures is not asked."""
    refusal = failing(ErrorCode.UNSUPPORTED_CONTENT)
    fallback = stage.provider("A cat.", vision=vision)
    agent = stage.agent(picky(refusal), fallback_provider=fallback)
    heard = await stage.ask(agent, stage.event(PHOTO), catch=True)
    assert (heard.text, heard.error) == (("A cat.", None) if vision else ("", refusal))


async def test_what_was_said_is_never_said_again(new_stage):
    """A stream that broke is not restarted; without a fallback the words that were seen stay alone."""
    stage = new_stage(streaming=True)
    provider = stage.provider("Hello.", chunk_size=3, fail_after_chunks=1, stream_error=failing())
    heard = await stage.ask(stage.agent(provider, retry_policy=RETRY), "Hi", catch=True)
    assert heard.text == "Hel"
    assert isinstance(heard.error, ProviderError)
    assert len(provider.calls) == 1


STORY = "It was a dark and stormy night; the rain fell in torrents."
BEGUN = STORY[:25]
CONTINUATIONS = {
    "exactly there": STORY[25:],
    "with its last words": STORY[9:],
    "from the start": STORY,
    "elsewhere": " day, after all.",
    "word by word": "night night.",
    "with its last word": STORY[18:],
    "by chance": "y my, it rained.",
}


@pytest.mark.parametrize("how", list(CONTINUATIONS))
@pytest.mark.parametrize("size", [1, 7, None])
@pytest.mark.parametrize("streams", [True, False])
async def test_a_fallback_goes_on_where_a_stream_broke(new_stage, how, size, streams):
    """After the words that were seen, repeating none of them, however it begins."""
    stage = new_stage(streaming=True)
    provider = stage.provider(STORY, chunk_size=5, fail_after_chunks=5, stream_error=failing())
    stage.streaming = streams
    fallback = stage.provider(CONTINUATIONS[how], chunk_size=size)
    heard = await stage.ask(stage.agent(provider, fallback_provider=fallback), "Tell me a story.")
    ends = {
        "elsewhere": f"{BEGUN} day, after all.",
        "word by word": f"{BEGUN}night night.",
        "by chance": f"{BEGUN}y my, it rained.",
    }
    assert heard.text == ends.get(how, STORY)
    assert heard.finish_reason == "stop"
    question, begun, request = fallback.calls[0].messages
    assert (question.content, begun.content) == ("Tell me a story.", BEGUN)
    assert "broke off" in request.content


@pytest.mark.parametrize("words", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_whatever_words_a_fallback_begins_with_again_are_said_once(words, size):
    """Wherever in a word the stream broke; of a word, two letters say that it begins again."""
    begins = [0, *(at + 1 for at, char in enumerate(STORY) if char == " ")]
    for broken in range(8, len(STORY)):
        begin = [at for at in begins if at < broken][-words]
        again = STORY[begin:broken]
        if len(again) < (4 if again.endswith(" ") else 2):
            continue
        seam, said = Seam(STORY[:broken]), STORY[:broken]
        for at in range(begin, len(STORY), size):
            said += seam.release(STORY[at : at + size])
        assert said + seam.rest() == STORY, again


@pytest.mark.parametrize(
    ("said", "more"),
    [
        ("It costs 10", "1000 EUR in all"),  # perhaps 101000
        ("The code is 12", "123"),
        ("We saw a cat", "at home"),
        ("Eat", "at home"),
        ("I a", "am"),
        ("They said so ", "so what?"),
        ("A banana", "nas"),
    ],
)
def test_what_may_be_chance_is_kept(said, more):
    """A letter too many is seen as a slip; a missing one may change what was said."""
    seam = Seam(said)
    assert seam.release(more) + seam.rest() == more


async def test_a_stream_that_broke_before_a_word_is_asked_elsewhere_as_it_was(new_stage, script):
    """Reasoning that was begun is another vendor's, and no part of the answer."""
    stage = new_stage(streaming=True)
    provider = stage.provider(
        script.says("Hello.", thinking="Hm."), fail_after_chunks=0, stream_error=failing()
    )
    fallback = stage.provider("Hello.")
    heard = await stage.ask(stage.agent(provider, fallback_provider=fallback), "Hi")
    assert heard.text == "Hello."
    assert [message.content for message in fallback.calls[0].messages] == ["Hi"]


async def test_a_filter_that_stops_a_stream_is_not_got_around(new_stage):
    stage = new_stage(streaming=True)
    error = failing(ErrorCode.CONTENT_FILTER)
    provider = stage.provider("Hello.", chunk_size=3, fail_after_chunks=1, stream_error=error)
    fallback = stage.provider("lo.")
    heard = await stage.ask(stage.agent(provider, fallback_provider=fallback), "Hi", catch=True)
    assert (heard.text, heard.error, fallback.calls) == ("Hel", error, [])


async def test_fallbacks_are_asked_in_their_order(stage):
    """Each once; what all of them failed with is in the notes of the first error."""
    providers = [stage.provider(failing(code)) for code in (ErrorCode.OVERLOADED, ErrorCode.AUTH)]
    last = stage.provider("Hello.", failing(ErrorCode.SERVER))
    agent = stage.agent(providers[0], fallback_provider=providers[1], fallback_providers=[last])
    assert (await stage.ask(agent, "Hi")).text == "Hello."
    heard = await stage.ask(agent, "And now?", catch=True)
    assert heard.error.error_code is ErrorCode.OVERLOADED
    notes = [f"the fallback mock failed too: {code}" for code in ("auth", "server")]
    assert heard.error.__notes__[-2:] == notes  # the mock raises one object in both turns
    assert [len(provider.calls) for provider in (*providers, last)] == [2, 2, 2]


async def test_a_fallback_that_breaks_hands_on(new_stage):
    """Two streams break in one answer, and the third goes on after the words of both."""
    stage = new_stage(streaming=True)
    first = stage.provider(STORY, chunk_size=5, fail_after_chunks=2, stream_error=failing())
    second = stage.provider(STORY[10:], chunk_size=5, fail_after_chunks=3, stream_error=failing())
    third = stage.provider(STORY[18:])
    agent = stage.agent(first, fallback_provider=second, fallback_providers=[third])
    assert (await stage.ask(agent, "Tell me a story.")).text == STORY


async def test_a_stream_that_has_yielded_is_never_reentered(new_stage, script):
    stage = new_stage(streaming=True)
    answer = script.says("Hello.", thinking="Hm.")
    provider = stage.provider(answer, fail_after_chunks=0, stream_error=failing())
    await stage.ask(stage.agent(provider, retry_policy=RETRY), "Hi", catch=True)
    assert len(provider.calls) == 1


async def test_a_later_round_has_chances_of_its_own(stage, script):
    """What the first round said stays, and is not repeated."""

    async def look(name, arguments):
        return "seen"

    provider = stage.provider(script.calls("look", text="One moment."), failing(), script.says("Done."))
    agent = stage.agent(provider, retry_policy=RETRY, tools=[(script.tool("look"), look)])
    heard = await stage.ask(agent, "Hi")
    assert heard.text == "One moment.\n\nDone."


async def test_an_error_that_is_no_provider_error_is_raised_as_it_is(stage):
    """A defect is not a vendor's failure."""
    heard = await stage.ask(
        stage.agent(stage.provider(ZeroDivisionError("bug")), retry_policy=RETRY), "Hi", catch=True
    )
    assert isinstance(heard.error, ZeroDivisionError)


# -- a request too long -------------------------------------------------------------------------


async def test_a_request_too_long_is_shortened_once(stage, script):
    """The older half becomes a note, the newer stays as it was; then it is asked again."""
    for number in range(8):
        stage.event(f"message {number}", channel="agent" if number % 2 else "ws")
    provider = stage.provider(failing(ErrorCode.CONTEXT_OVERFLOW), "Hello.")
    heard = await stage.ask(stage.agent(provider), "Now?")
    assert heard.text == "Hello."
    first, second = (script.lines(context) for context in provider.calls)
    assert second[1:] == first[5:]
    assert second[0][1].startswith("[Earlier messages, shortened]\nAlice: message 0\n")


async def test_a_request_that_stays_too_long_fails(stage):
    stage.event("before")
    provider = stage.provider(failing(ErrorCode.CONTEXT_OVERFLOW))
    heard = await stage.ask(stage.agent(provider, retry_policy=RETRY), "Now?", catch=True)
    assert heard.error.error_code is ErrorCode.CONTEXT_OVERFLOW
    assert len(provider.calls) == 2


async def test_a_request_with_nothing_to_leave_out_fails_at_once(stage):
    provider = stage.provider(failing(ErrorCode.CONTEXT_OVERFLOW))
    await stage.ask(stage.agent(provider), "Now?", catch=True)
    assert len(provider.calls) == 1


async def test_the_running_turn_is_not_torn_apart(stage, script):
    """In the midst of a tool loop calls keep their results, and the question stays."""

    async def look(name, arguments):
        return "x" * 50_000

    for number in range(4):
        stage.event(f"message {number}", channel="agent" if number % 2 else "ws")
    provider = stage.provider(script.calls("look"), failing(ErrorCode.CONTEXT_OVERFLOW), script.says("Done."))
    heard = await stage.ask(stage.agent(provider, tools=[(script.tool("look"), look)]), "THE QUESTION")
    assert heard.text == "Done."
    last = provider.calls[-1]
    assert [message.role for message in last.messages] == ["user", "assistant", "user", "assistant", "tool"][
        -len(last.messages) :
    ]
    assert "THE QUESTION" in str(last.messages)
    assert len(script.results(last)[0].result) < 5_000


def test_shortening_never_parts_a_call_from_its_result(legal):
    history = []
    for number in range(6):
        call = AIToolCallPart(id=f"c{number}", name="t")
        result = AIToolResultPart(tool_call_id=f"c{number}", name="t", result="r" * 40 * number)
        history += [
            AIMessage(role="user", content=f"question {number}"),
            AIMessage(role="assistant", content=(call,)),
            AIMessage(role="tool", content=(result,)),
            AIMessage(role="assistant", content=f"answer {number}"),
        ]
    now = AIMessage(role="user", content="now?")
    for length in range(1, len(history) + 1):
        earlier, own = shortened(history[:length], [now])
        assert own == [now]
        kept = earlier[1:]
        assert kept == history[length - len(kept) : length]
        assert not kept or kept[0].role != "tool"
        legal(well_formed([*earlier, *own]))


def test_cutting_keeps_both_ends():
    """And says how much is gone."""
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefgh", 4) == "ab\n[... 4 characters left out ...]\ngh"


def test_the_mock_is_what_the_tests_take_it_for():
    """Both ways of generating are on or off together."""
    assert MockAIProvider(streaming=True).supports_structured_streaming
