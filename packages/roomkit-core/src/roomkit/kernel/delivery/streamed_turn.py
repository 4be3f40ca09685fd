"""One answer while it is generated: shown as it grows, judged by segments, and committed at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ValidationError

from roomkit._dataclasses import dataclass
from roomkit.abc.attributes import mistyped
from roomkit.abc.channel import Channel
from roomkit.abc.errors import ForeignCodeError, InvalidInputError, RoomNotFoundError
from roomkit.abc.records import problems_of
from roomkit.kernel.delivery.turn_effects import TurnEffects, refusal_of, voice_lost_by
from roomkit.kernel.flow.context import RecordContext
from roomkit.kernel.flow.contract import owner_of
from roomkit.kernel.flow.draft import Draft, Written
from roomkit.kernel.flow.live_answer import LiveAnswer, LiveRecipient, segments_of
from roomkit.kernel.flow.recipients import recipients
from roomkit.kernel.flow.voices import VOICE_LOST, voice_lost
from roomkit.kernel.runtime.deadline import Abandoned, Deadline, ends_task
from roomkit.models.ai import StreamDone, StreamTextDelta, StreamThinkingDelta, StreamToolCall
from roomkit.models.base import new_id
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import DeliveryError
from roomkit.models.enums import HookTrigger
from roomkit.models.event import Generation, RoomEvent
from roomkit.models.values import summary
from roomkit.models.visibility import admits, narrowest

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.registrations import HookRegistration
    from roomkit.kernel.commit.verdicts import GateVerdict
    from roomkit.kernel.delivery.lanes import Lane
    from roomkit.kernel.flow.job import Job
    from roomkit.kernel.flow.recipients import Target
    from roomkit.kernel.following.follows import Follows
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.ai import StreamEvent
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.options import KitOptions

__all__ = ["StreamedTurn", "close_stream"]

_OVERLAP = 200
_OF_DONE = ("provider", "model", "tool_rounds", "cost")
_SILENT = (StreamThinkingDelta, StreamToolCall)
"""What a stream may say that no recipient reads."""
_LOOK_EVERY = 1.0
_OF_GATES = ("tasks", "observations", "state", "values", "timers")
"""What gates may leave behind, too, besides injected events."""


class _VoiceLost(Exception):
    """The agent may say no more: another worker muted it, took it out of the room, or closed that."""


class _Withheld(Exception):
    """A gate stopped a streamed answer at a segment."""

    def __init__(self, reason: str, by: str, text: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.by = by
        self.text = text


@dataclass(slots=True, frozen=True, kw_only=True)
class TurnParts:
    """The parts of the kernel that every turn works with."""

    settings: KitOptions
    store: ConversationStore
    supervisor: Supervisor
    hooks: HookEngine
    lease: Lease
    channels: Channels
    follows: Follows


class StreamedTurn:
    """One answer being generated, shown to the recipients that can stream it, and committed at its end."""

    def __init__(
        self,
        parts: TurnParts,
        effects: TurnEffects,
        event: RoomEvent,
        binding: ChannelBinding,
        record: RoomRecord,
        job: Job,
        lane: Lane,
        on_heard: Callable[[LiveRecipient], None] | None,
    ) -> None:
        assert lane.deadline is not None
        self._parts = parts
        self._supervisor = parts.supervisor
        self._kept = effects
        self.event_id = event.id
        self._event = event
        self._binding = binding
        self._record = record
        self._job = job
        self._question = job.run.event.source
        self._lane = lane
        self._on_heard = on_heard
        self._deadline = lane.deadline
        self._cascade = job.run.cascade
        self._answer = LiveAnswer(event.id)
        self._recipients: dict[str, LiveRecipient] = {}
        self._hooks: Sequence[HookRegistration] = ()
        self._generation = event.generation or Generation()
        self._buffer = ""
        self._said: list[str] = []  # bound: the answer itself
        self._held = ""
        self._is_held = False
        """Whether a gate changed text that was already read: the rest is shown with the whole, corrected."""
        self._segment = 0
        self._shared = self._parts.lease.worker_id is not None
        self._looked_at = asyncio.get_running_loop().time()
        self._lost: str | None = None
        self._refused: InvalidInputError | None = None
        """The error for effects that cannot be stored."""
        self.unrecorded: DeliveryError | None = None
        """What people saw of the answer, if its room has no entry for it."""
        self._effects: dict[str, Any] = {}
        self._verdict: GateVerdict | None = None
        """That of the gate which stopped the answer."""

    async def run(self, stream: AsyncIterator[str | StreamEvent], effects: Mapping[str, Any]) -> str | None:
        """Show and commit the answer; return why it was cut off or refused, if its agent lost its voice."""
        self._effects = dict(effects)
        self._start()
        withheld: _Withheld | None = None
        failure: BaseException | None = None
        try:
            await self._consume(stream)
        except _Withheld as stop:
            withheld = stop
        except _VoiceLost as lost:  # by another worker; a change here cancels the turn
            self._lost = str(lost)
            # The answer is ending: a signal of the same change must not cut off the commit of the shown text.
            self._lane.interrupted = self._lane.interrupted or self._lost
        except BaseException as error:  # raised again once the text so far is committed
            if ends_task(error) and not isinstance(error, asyncio.CancelledError):
                raise
            failure = error
        if self._deadline.abandoned:
            raise Abandoned
        await self._finish(withheld, failure)
        if failure is not None:
            raise failure
        if self._refused is not None:
            raise self._refused
        return self._lost

    def narrow(self, visibility: str) -> None:
        """Show the rest only to those whom its agent's binding admits now, too."""
        if not self._answer.done:
            self._narrow(visibility)

    async def break_off(self, reason: str) -> None:
        """End the answer in place of its own task, which was abandoned."""
        if not self._answer.done:
            await self._finish(None, asyncio.CancelledError(reason))

    def _check_at_work(self) -> None:
        """End here if the task was abandoned: another one ended the answer."""
        if self._deadline.abandoned:
            raise Abandoned

    def _start(self) -> None:
        """Begin to show the answer to every recipient that can see it grow.

        If a gate wants to see it whole, no recipient sees it before: it is then an answer like any other.
        """
        targets = recipients(
            self._record,
            self._parts.channels,
            self._event,
            self._parts.settings.agent_response_policy,
            answerable=False,
        )
        streaming: list[Target] = []  # bound: the targets
        for each in targets:
            try:
                if each.channel is not None and each.binding.channel_id not in self._parts.channels.starts:
                    streams: object = each.channel.can_stream(each.binding)
                    if not isinstance(streams, bool):
                        raise mistyped(owner_of(each.binding.channel_id), "can_stream()", streams, bool)
                    if streams:
                        streaming.append(each)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001  # a channel may raise anything: it gets the whole
                self._shown_whole(each, error)
        targets = streaming
        if not targets:
            return
        hooks = self._parts.hooks.select(
            HookTrigger.BEFORE_BROADCAST, self._event.room_id, self._event.source
        )
        if hooks and self._binding.judge_streams:
            return
        for hook in hooks:
            if hook.streams == "whole" and hook.applies(RecordContext(self._record)) is not False:
                return
        targets = [target for target in targets if not _needs_consent(target)]
        if hooks:
            targets = [target for target in targets if not target.binding.judge_streams]
        self._hooks = hooks
        for target in targets:
            try:
                self._recipients[target.binding.channel_id] = self._show_to(target)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001  # likewise: it made no coroutine
                self._shown_whole(target, error)

    def _shown_whole(self, target: Target, error: BaseException) -> None:
        """Report a channel that fails before it streams: it is sent the committed answer."""
        self._supervisor.report(f"streaming to channel {target.binding.channel_id}", error)

    def _show_to(self, target: Target) -> LiveRecipient:
        assert target.channel is not None
        recipient = LiveRecipient(self._answer, target)
        recipient.on_heard = self._on_heard
        context = RecordContext(
            self._record, reader=target.binding, event=self._event, target=target.binding.channel_id
        )
        if target.channel.follows_rooms:
            work = self._parts.follows.relay(recipient, self._event, target.binding.channel_id)
        else:
            work = target.channel.deliver_stream(recipient, self._event, target.binding, context)
        recipient.task = self._supervisor.begin(
            work, f"stream {self._event.id} to {target.binding.channel_id}"
        )
        return recipient

    async def _consume(self, stream: AsyncIterator[str | StreamEvent]) -> None:
        deadline, lane = self._deadline, self._lane
        is_plain = not self._hooks and not self._shared
        try:
            deadline.foreign = True
            async for item in stream:
                deadline.foreign = False
                if deadline.abandoned or deadline.fired or lane.over:
                    self._too_late()
                if is_plain and type(item) is str:
                    self._release(item)
                elif isinstance(item, StreamDone):  # which is a string too
                    self._done(item)
                elif isinstance(item, str):
                    await self._say(item)
                elif isinstance(item, StreamTextDelta) and isinstance(item.text, str):
                    await self._say(item.text)
                elif not isinstance(item, _SILENT):
                    raise self._unusable(item)
                deadline.foreign = True
        finally:
            deadline.foreign = True
            await close_stream(stream)
            deadline.foreign = False
        if deadline.abandoned or deadline.fired or lane.over:
            self._too_late()
        await self._judge(final=True)

    def _unusable(self, item: object) -> ForeignCodeError:
        found = "StreamTextDelta without text" if isinstance(item, StreamTextDelta) else type(item).__name__
        return ForeignCodeError(
            f"the stream of agent {self._binding.channel_id!r} has {found}: yield str or stream events"
        )

    def _too_late(self) -> NoReturn:
        """Count an answer as cut off that goes on after its time: its agent ignored the cancellation."""
        if self._deadline.abandoned:
            raise Abandoned
        raise asyncio.CancelledError

    async def _look_at_binding(self) -> None:
        """Stop if another worker took the agent's voice: here its lane would have been interrupted."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < _LOOK_EVERY:
            return
        self._looked_at = now
        record = await self._parts.store.load(self._event.room_id)
        channel_id = self._binding.channel_id
        lost = "room_deleted" if record is None else voice_lost(record, channel_id, self._question)
        if lost is not None:
            raise _VoiceLost(lost)
        if record is not None:
            self._narrow(record.bindings[channel_id].visibility)

    def _done(self, done: StreamDone) -> None:
        known: object = done.metadata
        known = known if isinstance(known, Mapping) else {"provider": known}
        fields = {**self._generation.__dict__, "finish_reason": done.finish_reason, "usage": done.usage}
        fields |= {name: known[name] for name in _OF_DONE if name in known}
        try:
            self._generation = Generation.model_validate(fields, strict=True)
        except ValidationError as error:
            raise ForeignCodeError(
                f"the StreamDone of agent {self._binding.channel_id!r} cannot be used: {problems_of(error)}"
            ) from None

    async def _say(self, text: str) -> None:
        if self._shared:
            await self._look_at_binding()
        if self._hooks:
            self._buffer += text
            await self._judge(final=False)
        else:
            self._release(text)

    def _release(self, text: str) -> None:
        self._said.append(text)
        self._answer.release(text)

    async def _judge(self, *, final: bool) -> None:
        """Put complete segments to the gates, and release what they let through.

        Each is judged with the end of the text released before it, as its readers see them: together. If the
        verdict leaves that end as it is, the text after it is released. Else readers would have to see it
        corrected, so they get nothing more until the whole is committed.
        """
        if not self._hooks:
            return
        segments, self._buffer = segments_of(self._buffer, final=final)
        for place, segment in enumerate(segments):
            if self._is_held:
                self._held += segment
                continue
            overlap = self._answer.text[-_OVERLAP:]
            event = self._event.replace(
                content=TextContent(body=overlap + segment),
                generation=self._generation.replace(segment=self._segment, preceding=overlap),
            )
            self._segment += 1
            with Deadline(self._parts.settings.process_timeout) as deadline:
                verdict = await self._parts.hooks.run_gates(
                    self._hooks, event, RecordContext(self._record), deadline
                )
            self._check_at_work()
            if not verdict.allowed:  # an allowed answer's effects come with the verdict on the whole
                self._verdict = verdict
                unsaid = "".join(segments[place:]) + self._buffer
                raise _Withheld(verdict.reason or "blocked", verdict.blocked_by or "", unsaid)
            self._narrow(verdict.payload.visibility)
            judged = text_of(verdict.payload.content)
            if not judged.startswith(overlap):
                self._is_held, self._held = True, segment
                continue
            self._said.append(segment)
            self._answer.release(judged[len(overlap) :])

    def _narrow(self, visibility: str) -> None:
        """Show no more of the answer to those whom a gate excludes, nor its entry at the end."""
        narrowed = narrowest(self._event.visibility, visibility)
        if narrowed == self._event.visibility:
            return
        self._event = self._event.replace(visibility=narrowed)
        for channel_id, recipient in self._recipients.items():
            if not admits(narrowed, channel_id, recipient.target.binding.category):
                recipient.exclude()

    async def _finish(self, withheld: _Withheld | None, failure: BaseException | None) -> None:
        """Commit the text and the other effects of the turn.

        Neither an interruption nor the turn's deadline cuts the commit of shown text, which has its own.
        """
        lane, deadline = self._lane, self._deadline
        lane.is_committing = deadline.is_shielded = bool(self._recipients)
        try:
            await self._end(withheld, failure)
        finally:
            lane.is_committing = deadline.is_shielded = False
            left = self.taken_effects()
            left.pop("injected", None)  # they stand beside words, and there were none
            if any(left.values()):
                await self._kept.keep(left, self._job, self._record)

    async def _end(self, withheld: _Withheld | None, failure: BaseException | None) -> None:
        """Commit the text, then let each recipient finish."""
        answer = self._answer
        reason = self._lost or self._generation.finish_reason
        if failure is not None:
            reason = "error"
            if isinstance(failure, asyncio.CancelledError):
                interrupted = self._lane.interrupted
                reason = self._lane.finish or (interrupted if interrupted in VOICE_LOST else "cancelled")
        generation = self._generation.replace(finish_reason=reason or "stop")
        answer.end(failure if isinstance(failure, Exception) else None)
        written: Written | None = None
        try:
            # Not streamed, so no recipient saw it; but an agent may end its failure with words for the room.
            meant = (failure is None and self._lost is None) or self._generation.finish_reason == "error"
            said = "".join(self._said) if self._recipients or meant else ""
            if meant:
                said += self._held
            if said.strip():
                unsaid = withheld.text if withheld is not None else ""
                written = await self._commit(said, generation, unsaid)
                if written.blocked and (lost := voice_lost_by(written)) is not None:
                    self._lose(lost, said, shown=written.event is None)
            elif withheld is not None:
                withheld.text = said + withheld.text  # blanks alone were no entry of their own
            if withheld is not None and withheld.text and not (written is not None and written.blocked):
                await self._commit_withheld(withheld, generation, said=bool(said.strip()))
        finally:
            stored = written.event if written is not None and not written.blocked else None
            planned = set(written.run.targets) if written is not None and written.run is not None else set()
            for channel_id, recipient in self._recipients.items():
                if channel_id not in planned:
                    recipient.commit(None if recipient.excluded else stored)
                    self._cascade.hold()
                    self._supervisor.start(self._withdraw(recipient), f"end of stream to {channel_id}")

    def _lose(self, reason: str, said: str, *, shown: bool) -> None:
        """Note that the answer was refused because its agent has lost its voice, or its room."""
        self._lost = reason
        if shown and self._recipients and reason != "room_deleted":
            self.unrecorded = DeliveryError(
                code=reason,
                message=summary(
                    f"the answer was cut off after its room had been closed, which takes no entry: {said!r}"
                ),
            )

    async def _withdraw(self, recipient: LiveRecipient) -> None:
        """Let a recipient that gets no entry finish, within the time of a delivery."""
        assert recipient.task is not None
        try:
            await self._supervisor.finish(recipient.task, self._parts.settings.delivery_timeout)
        except Exception as error:  # noqa: BLE001  # a channel may raise anything: it is reported
            if not recipient.broke_off(error):
                self._supervisor.report(recipient.task.get_name(), error)
        finally:
            self._cascade.release()

    async def _commit(self, text: str, generation: Generation, unsaid: str = "") -> Written:
        """Have the text judged as a whole, and commit it; `unsaid` is the text that was withheld.

        If it is refused as a whole, all of it is one blocked entry, and its recipients are notified that
        the answer was withdrawn.
        """
        effects = self.taken_effects()
        draft = Draft(
            event=self._event.replace(content=TextContent(body=text), generation=generation),
            cascade=self._cascade,
            gated=bool(self._hooks) or not self._recipients,
            visible_to=self._event.visibility,
            refused_as=TextContent(body=text + unsaid) if unsaid else None,
            streamed=self._recipients,
            as_shown=generation.finish_reason in VOICE_LOST,
            activity=generation.finish_reason != "room_closed",
            **effects,
        )
        if self._recipients:
            draft.plan = self._plan
        return await self._write(draft)

    def _plan(self, draft: Draft, record: RoomRecord) -> Draft:
        """Say in the entry that the agent lost its voice, if it did so while people read the answer."""
        generation = draft.event.generation or self._generation
        lost = voice_lost(record, self._binding.channel_id, self._question)
        if lost is None or generation.finish_reason in VOICE_LOST:
            return draft
        self._lost = lost
        event = draft.event.replace(generation=generation.replace(finish_reason=lost))
        return replace(draft, as_shown=True, event=event)

    def taken_effects(self) -> dict[str, Any]:
        """Return the effects of the turn besides text, once.

        Only now: an agent may add to its lists until its stream has ended.
        """
        effects, self._effects = self._effects, {}
        parked = effects.pop("parked", ())
        if any(effects.values()) and (refused := refusal_of(effects, self._binding)) is not None:
            self._refused, effects = refused, {}
        if parked:
            effects, self._refused = self._kept.with_parked(
                effects, self._refused, parked, self._job, self._record
            )
        verdict, self._verdict = self._verdict, None
        for name in _OF_GATES:
            found = (*(effects.pop(name, None) or ()), *(getattr(verdict, name, ())))
            if found:
                effects[name] = found
        if verdict is not None and verdict.injected_events:
            effects["injected"] = verdict.injected_events
        return effects

    async def _commit_withheld(self, withheld: _Withheld, generation: Generation, *, said: bool) -> None:
        """Store withheld text as a blocked entry."""
        effects = self.taken_effects()
        key = self._event.idempotency_key
        event = self._event.replace(
            id=new_id() if said else self._event.id,
            idempotency_key=f"{key}:withheld" if said and key is not None else key,
            content=TextContent(body=withheld.text),
            generation=generation.replace(finish_reason="content_filter"),
        )
        blocked = withheld.by, withheld.reason
        await self._write(Draft(event=event, cascade=self._cascade, gated=False, blocked=blocked, **effects))

    async def _write(self, draft: Draft) -> Written:
        """Commit a part of the turn; it is refused when the room was deleted."""
        try:
            return await self._job.run.timeline.write(draft)
        except RoomNotFoundError:
            return Written(blocked=True, reason="room_deleted")


def _needs_consent(target: Target) -> bool:
    """Return whether each attempt at the target is judged: it is sent the whole answer, by `deliver`."""
    channel = target.channel
    return channel is not None and type(channel).consent_purpose is not Channel.consent_purpose


async def close_stream(stream: AsyncIterator[str | StreamEvent]) -> None:
    """Close a generator whose answer is not wanted, or no longer."""
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()
