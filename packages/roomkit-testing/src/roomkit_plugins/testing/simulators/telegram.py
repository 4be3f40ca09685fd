"""Telegram's Bot API, chats and persons, simulated: https://core.telegram.org/bots/api (Bot API 10.0)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, override

from roomkit.models.webhook import WebhookAnswer, WebhookOutcome, WebhookRequest
from roomkit_plugins.testing.simulators.ai import Failure
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest
from roomkit_plugins.testing.simulators.telegram_requests import (
    BotRefused,
    UploadedFile,
    check_keyboard,
    parameters_of,
    shown_text,
)
from roomkit_plugins.testing.simulators.vendor import SimulatedPerson, VendorSimulator

__all__ = ["TelegramMessage", "TelegramPerson", "TelegramSimulator"]

type Answer = WebhookOutcome | WebhookAnswer

_COMMON = frozenset(
    {
        "chat_id", "business_connection_id", "message_thread_id", "disable_notification", "protect_content",
        "reply_parameters", "reply_markup", "link_preview_options",
    }
)  # fmt: skip
_WORDS = {"caption", "parse_mode", "caption_entities"}
_SENDS: Mapping[str, frozenset[str]] = {
    "sendMessage": frozenset({"text", "parse_mode", "entities"}),
    "sendPhoto": frozenset({"photo", *_WORDS}),
    "sendVoice": frozenset({"voice", "duration", *_WORDS}),
    "sendAudio": frozenset({"audio", "duration", *_WORDS}),
    "sendVideo": frozenset({"video", "duration", *_WORDS}),
    "sendAnimation": frozenset({"animation", "duration", *_WORDS}),
    "sendDocument": frozenset({"document", *_WORDS}),
    "sendLocation": frozenset({"latitude", "longitude"}),
    "sendVenue": frozenset({"latitude", "longitude", "title", "address"}),
    "sendPoll": frozenset({"question", "options", "is_anonymous", "allows_multiple_answers"}),
    "sendContact": frozenset({"phone_number", "first_name", "last_name", "vcard"}),
    "sendDice": frozenset({"emoji"}),
}
_FILES = ("photo", "voice", "audio", "video", "animation", "document")
_OPTIONAL = frozenset(
    {
        "duration", "parse_mode", "entities", "is_anonymous", "allows_multiple_answers", "last_name", "vcard",
        *_WORDS,
    }
)  # fmt: skip
_LONGEST, _LONGEST_CAPTION = 4096, 1024


@dataclass(slots=True, eq=False)
class TelegramMessage:
    """A message of the bot. `text` is what a person sees, without tags; `fields` are the parameters."""

    number: int
    chat_id: int
    method: str
    text: str
    fields: Mapping[str, Any]
    file: UploadedFile | str | None = None
    is_deleted: bool = False
    reactions: list[str] = field(default_factory=list)

    @property
    def buttons(self) -> list[Mapping[str, Any]]:
        """The buttons under it."""
        markup = self.fields.get("reply_markup") or {}
        return [button for row in markup.get("inline_keyboard", ()) for button in row]

    @property
    def keys(self) -> list[str]:
        """The words of the keyboard that it shows."""
        markup = self.fields.get("reply_markup") or {}
        return [button["text"] for row in markup.get("keyboard", ()) for button in row]


class TelegramPerson(SimulatedPerson[TelegramMessage]):
    """A person with Telegram, who writes to the bot alone, or in a chat with others (`in_chat`)."""

    def __init__(self, telegram: TelegramSimulator, number: int, first_name: str, username: str) -> None:
        super().__init__(str(number))
        self.number = number
        self.first_name = first_name
        self.username = username
        self._telegram = telegram

    @property
    def user(self) -> dict[str, Any]:
        """The person as Telegram describes them."""
        named = {"username": self.username} if self.username else {}
        return {
            "id": self.number,
            "is_bot": False,
            "first_name": self.first_name,
            "language_code": "en",
            **named,
        }

    async def write(self, text: str, *, in_chat: int | None = None, **fields: Any) -> Answer | None:
        """Write a text; `fields` are further ones of the message, such as `entities`."""
        return await self.send(in_chat=in_chat, text=text, **fields)

    async def send(
        self, *, in_chat: int | None = None, kind: str = "message", **fields: Any
    ) -> Answer | None:
        """Send a message with these fields."""
        message = self._telegram.message_from(self, in_chat, fields)
        return await self._telegram.update(kind, message)

    async def send_file(
        self,
        kind: str,
        data: bytes,
        *,
        in_chat: int | None = None,
        facts: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Answer | None:
        """Send a file: `kind` is photo, voice, document ...; `facts` are further ones of the file."""
        file = {**self._telegram.keep_file(kind, data), **(facts or {})}
        said: Any = [{**file, "width": 640, "height": 480}] if kind == "photo" else file
        return await self.send(in_chat=in_chat, **{kind: said, **fields})

    async def edit(
        self, number: int, text: str, *, in_chat: int | None = None, **fields: Any
    ) -> Answer | None:
        """Edit a message of theirs."""
        message = self._telegram.message_from(self, in_chat, {"text": text, **fields}, number=number)
        return await self._telegram.update("edited_message", {**message, "edit_date": int(time.time())})

    async def press(self, message: TelegramMessage, label: str) -> Answer | None:
        """Press a button under a message of the bot."""
        button = next(each for each in message.buttons if each["text"] == label)
        shown = self._telegram.as_sent(message)
        query = {
            "id": str(self._telegram.next_number()),
            "from": self.user,
            "message": shown,
            "chat_instance": "-31",
            "data": button["callback_data"],
        }
        return await self._telegram.update("callback_query", query)

    async def react(
        self, number: int, *emoji: str, before: Sequence[str] = (), in_chat: int | None = None
    ) -> Answer | None:
        """Have these reactions to a message, in place of those `before`."""
        said = {
            "chat": self._telegram.chat(in_chat, self),
            "message_id": number,
            "user": self.user,
            "date": int(time.time()),
            "old_reaction": [{"type": "emoji", "emoji": each} for each in before],
            "new_reaction": [{"type": "emoji", "emoji": each} for each in emoji],
        }
        return await self._telegram.update("message_reaction", said)

    async def block(self) -> Answer | None:
        """Block the bot."""
        return await self._telegram.change_membership(self, "member", "kicked")

    async def start(self) -> Answer | None:
        """Start the bot, again after blocking it."""
        return await self._telegram.change_membership(self, "kicked", "member")


class TelegramSimulator(VendorSimulator[TelegramMessage]):
    """Telegram on a free local port, with persons who write to one bot.

        async with TelegramSimulator() as telegram:
            config = TelegramConfig(
                bot_token=telegram.bot_token,
                webhook_secret=telegram.webhook_secret,
                base_url=telegram.origin,
            )
            telegram.connect(lambda request: kit.process_webhook(request, "telegram"))
            ann = telegram.person("Ann")
            await ann.write("Hello")
            print((await ann.receive()).text)

    Requests are checked as strictly as Telegram checks them. Updates go to the webhook that is connected;
    else they wait to be polled. Polling while a webhook is connected is a conflict. A person who blocked the
    bot, and a chat that is not there, cannot be written to. `migrated` are groups' new ids by their old ones.
    """

    def __init__(
        self,
        *,
        bot_token: str = "123456:simulated-bot-token",
        webhook_secret: str = "simulated-webhook-secret",
        username: str = "simulated_bot",
        webhook_url: str = "https://chat.example.org/webhooks/telegram",
    ) -> None:
        super().__init__(webhook_url=webhook_url)
        self.bot_token = bot_token
        self.webhook_secret = webhook_secret
        self.username = username
        self.migrated: dict[int, int] = {}  # bound: one test
        self.blocked: set[int] = set()  # bound: one test
        self.pending: list[dict[str, Any]] = []  # bound: one test
        self.actions: list[Mapping[str, Any]] = []  # bound: one test
        self.answered: list[str] = []  # bound: one test
        self.polls: list[int] = []  # bound: one test
        self._persons: dict[int, TelegramPerson] = {}  # bound: one test
        self._groups: dict[int, dict[str, Any]] = {}  # bound: one test
        self._kept: dict[str, bytes] = {}  # bound: one test
        self._numbers = itertools.count(1001)
        self._came = asyncio.Event()
        self._polls = 0

    # -- what a test says ---------------------------------------------------------------------

    @override
    def failure(self, status: int, code: int, headers: Mapping[str, str]) -> Failure:
        body = {"ok": False, "error_code": status, "description": f"Simulated error {code}"}
        return Failure(status, body, headers)

    def limit(self, seconds: int) -> None:
        """Have the next message refused as too many, for so many seconds."""
        refused = BotRefused(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)
        self.play(Failure(429, refused.body))

    def person(self, first_name: str, number: int | None = None, *, username: str = "") -> TelegramPerson:
        """Return a person who has started the bot; the same one for the same number."""
        number = number or 551000 + len(self._persons)
        return self._persons.setdefault(number, TelegramPerson(self, number, first_name, username))

    def group(self, title: str, number: int, **fields: Any) -> int:
        """Open a group, or a channel or forum by its fields; return its id."""
        self._groups[number] = {"id": number, "type": "supergroup", "title": title, **fields}
        return number

    def message_of(self, number: int) -> TelegramMessage:
        """Return the message of the bot that has this number."""
        return next(each for each in self.messages if each.number == number)

    def next_number(self) -> int:
        """Return a number that was not given out."""
        return next(self._numbers)

    def keep_file(self, kind: str, data: bytes) -> dict[str, Any]:
        """Keep a file; return how Telegram describes it."""
        identity = f"AgAC{kind}{self.next_number()}"
        self._kept[identity] = data
        facts: dict[str, Any] = {
            "file_id": identity,
            "file_unique_id": f"u{identity}",
            "file_size": len(data),
        }
        match kind:
            case "voice" | "audio":
                facts["duration"] = 3
            case "video" | "animation":
                facts |= {"duration": 3, "width": 640, "height": 480}
            case "video_note":
                facts |= {"duration": 3, "length": 240}
            case "sticker":
                facts |= {
                    "type": "regular",
                    "width": 512,
                    "height": 512,
                    "is_animated": False,
                    "is_video": False,
                }
        return facts

    def chat(self, in_chat: int | None, person: TelegramPerson) -> dict[str, Any]:
        """Return a chat as Telegram describes it."""
        if in_chat is None:
            return {"id": person.number, "type": "private", "first_name": person.first_name}
        return self._groups[in_chat]

    def message_from(
        self,
        person: TelegramPerson,
        in_chat: int | None,
        fields: Mapping[str, Any],
        *,
        number: int | None = None,
    ) -> dict[str, Any]:
        """Return a message of a person's as Telegram describes it."""
        return {
            "message_id": number or self.next_number(),
            "from": person.user,
            "chat": self.chat(in_chat, person),
            "date": int(time.time()),
            **fields,
        }

    async def change_membership(self, person: TelegramPerson, before: str, after: str) -> Answer | None:
        """Have a person block the bot, or start it."""
        (self.blocked.add if after == "kicked" else self.blocked.discard)(person.number)
        members = [
            {"user": self._me(), "status": status, **({"until_date": 0} if status == "kicked" else {})}
            for status in (before, after)
        ]
        said = {
            "chat": self.chat(None, person),
            "from": person.user,
            "date": int(time.time()),
            "old_chat_member": members[0],
            "new_chat_member": members[1],
        }
        return await self.update("my_chat_member", said)

    async def update(self, kind: str, said: Mapping[str, Any]) -> Answer | None:
        """Send an update to the webhook; return its answer, None if it waits to be polled."""
        return await self.post({"update_id": self.next_number(), kind: said})

    async def post(self, update: dict[str, Any]) -> Answer | None:
        """Send a whole update."""
        if self._takes is None:
            self.pending.append(update)
            self._came.set()
            return None
        answer = await self.hand_over(self.signed(json.dumps(update).encode()))
        self._obey(answer)
        return answer

    def signed(self, body: bytes, at: float | None = None) -> WebhookRequest:
        """Return a request with this body, as Telegram makes it."""
        headers = {
            "Content-Type": "application/json",
            "X-Telegram-Bot-Api-Secret-Token": self.webhook_secret,
        }
        return WebhookRequest(method="POST", url=self.webhook_url, headers=headers, body=body)

    def _obey(self, answer: Answer) -> None:
        """Carry out the call that an answer to a webhook may be."""
        sent = answer.answer if isinstance(answer, WebhookOutcome) else answer
        if sent.status != 200 or sent.content_type != "application/json":
            return
        said = json.loads(sent.body)
        if said.get("method") == "answerCallbackQuery":
            self.answered.append(said["callback_query_id"])

    # -- the API ------------------------------------------------------------------------------

    @override
    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        try:
            await self._answer_to(request, exchange)
        except BotRefused as error:
            await exchange.send_json(error.status, error.body)

    async def _answer_to(self, request: ReceivedRequest, exchange: Exchange) -> None:
        parts = request.path.lstrip("/").split("/")
        if parts[0] == "file" and len(parts) == 4 and parts[1] == f"bot{self.bot_token}":
            await self._send_file(parts[3], exchange)
            return
        if parts[0] != f"bot{self.bot_token}" or len(parts) != 2:
            raise BotRefused(401 if parts[0].startswith("bot") else 404, "Unauthorized")
        method, given = parts[1], parameters_of(request)
        if method in _SENDS:
            await self._send(method, given, exchange)
            return
        call = getattr(self, f"_call_{method}", None)
        if call is None:
            raise BotRefused(404, "Not Found: method not found")
        await exchange.send_json(200, {"ok": True, "result": await call(given)})

    async def _send_file(self, identity: str, exchange: Exchange) -> None:
        if identity not in self._kept:
            raise BotRefused(404, "Not Found")
        await exchange.send_bytes(200, self._kept[identity], {"content-type": "application/octet-stream"})

    async def _send(self, method: str, given: dict[str, Any], exchange: Exchange) -> None:
        fault = self.next_fault()
        if isinstance(fault, Failure):
            await exchange.send_json(fault.status, fault.body, fault.headers)
            return
        message = self._checked(method, given)
        self.messages.append(message)
        if (person := self._persons.get(message.chat_id)) is not None:
            person.show(message)
        await self.answer(exchange, 200, {"ok": True, "result": self.as_sent(message)}, fault)

    def _checked(self, method: str, given: dict[str, Any]) -> TelegramMessage:
        """Return the message that a request asks for. Raises BotRefused where Telegram refuses."""
        known = _SENDS[method]
        for name in given:
            if name not in known | _COMMON:
                raise BotRefused(400, f"Bad Request: {name} is not a parameter of {method}")
        for name in known - _OPTIONAL:
            if given.get(name) in (None, ""):
                raise BotRefused(400, f"Bad Request: {name} is empty")
        chat_id = self._chat_id(given)
        check_keyboard(given.get("reply_markup"))
        file = next((given[name] for name in _FILES if name in given), None)
        if isinstance(file, str) and not file.startswith(("http://", "https://", "AgAC")):
            raise BotRefused(400, "Bad Request: wrong file identifier/HTTP URL specified")
        if method == "sendMessage":
            text = shown_text(given.get("text"), given.get("parse_mode"), most=_LONGEST)
        else:
            text = shown_text(
                given.get("caption"), given.get("parse_mode"), most=_LONGEST_CAPTION, what="caption"
            )
        return TelegramMessage(self.next_number(), chat_id, method, text, given, file)

    def _chat_id(self, given: Mapping[str, Any]) -> int:
        """Return the chat of a request, where the bot may write."""
        try:
            chat_id = int(str(given["chat_id"]))
        except (KeyError, ValueError):
            raise BotRefused(400, "Bad Request: chat not found") from None
        if chat_id in self.migrated:
            raise BotRefused(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                migrate_to_chat_id=self.migrated[chat_id],
            )
        if chat_id in self.blocked:
            raise BotRefused(403, "Forbidden: bot was blocked by the user")
        if chat_id not in self._persons and chat_id not in self._groups:
            raise BotRefused(400, "Bad Request: chat not found")
        return chat_id

    def as_sent(self, message: TelegramMessage) -> dict[str, Any]:
        """Return a message of the bot as Telegram describes it."""
        person = self._persons.get(message.chat_id)
        chat = self._groups[message.chat_id] if person is None else self.chat(None, person)
        said: dict[str, Any] = {
            "message_id": message.number,
            "from": self._me(),
            "chat": chat,
            "date": int(time.time()),
            "text": message.text,
        }
        if "inline_keyboard" in (message.fields.get("reply_markup") or {}):
            said["reply_markup"] = message.fields["reply_markup"]
        return said

    def _me(self) -> dict[str, Any]:
        number = int(self.bot_token.partition(":")[0])
        return {"id": number, "is_bot": True, "first_name": "Simulated", "username": self.username}

    def _sent(self, given: Mapping[str, Any]) -> TelegramMessage:
        chat_id, number = self._chat_id(given), int(str(given.get("message_id", "0")))
        for each in self.messages:
            if (each.chat_id, each.number, each.is_deleted) == (chat_id, number, False):
                return each
        raise BotRefused(400, "Bad Request: message to edit not found")

    # -- further methods, by their names -------------------------------------------------------

    async def _call_getMe(self, given: Mapping[str, Any]) -> Any:
        return self._me()

    async def _call_getWebhookInfo(self, given: Mapping[str, Any]) -> Any:
        url = "" if self._takes is None else self.webhook_url
        return {"url": url, "has_custom_certificate": False, "pending_update_count": len(self.pending)}

    async def _call_getUpdates(self, given: Mapping[str, Any]) -> Any:
        if self._takes is not None:
            raise BotRefused(
                409, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook"
            )
        offset, limit = int(given.get("offset", 0)), int(given.get("limit", 100))
        self.polls.append(offset)
        self.pending = [each for each in self.pending if each["update_id"] >= offset]
        self._polls += 1
        mine = self._polls
        self._came.set()  # a poll that is open is ended by the next one
        if not self.pending and int(given.get("timeout", 0)):
            await self._update_or_other_poll(mine, int(given["timeout"]))
        return self.pending[:limit]

    async def _update_or_other_poll(self, mine: int, seconds: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.pending and mine == self._polls:
                    self._came.clear()
                    await self._came.wait()
        if mine != self._polls:
            raise BotRefused(409, "Conflict: terminated by other getUpdates request")

    async def _call_editMessageText(self, given: Mapping[str, Any]) -> Any:
        message = self._sent(given)
        if message.method != "sendMessage":
            raise BotRefused(400, "Bad Request: there is no text in the message to edit")
        return self._edited(message, given, "text", _LONGEST)

    async def _call_editMessageCaption(self, given: Mapping[str, Any]) -> Any:
        return self._edited(self._sent(given), given, "caption", _LONGEST_CAPTION)

    def _edited(self, message: TelegramMessage, given: Mapping[str, Any], name: str, most: int) -> Any:
        what = "message" if name == "text" else "caption"
        text = shown_text(given.get(name), given.get("parse_mode"), most=most, what=what)
        check_keyboard(given.get("reply_markup"))
        if text == message.text:
            raise BotRefused(400, "Bad Request: message is not modified")
        message.text = text
        return self.as_sent(message)

    async def _call_deleteMessage(self, given: Mapping[str, Any]) -> Any:
        self._chat_id(given)
        try:
            self._sent(given).is_deleted = True
        except BotRefused:
            raise BotRefused(400, "Bad Request: message to delete not found") from None
        return True

    async def _call_deleteMessages(self, given: Mapping[str, Any]) -> Any:
        numbers = given.get("message_ids")
        if not isinstance(numbers, list) or not 1 <= len(numbers) <= 100:
            raise BotRefused(400, "Bad Request: message_ids has 1 to 100 ids")
        chat_id = self._chat_id(given)
        for each in self.messages:
            if each.chat_id == chat_id and each.number in numbers:
                each.is_deleted = True
        return True

    async def _call_setMessageReaction(self, given: Mapping[str, Any]) -> Any:
        self._chat_id(given)
        reaction = given.get("reaction", [])
        if len(reaction) > 1:
            raise BotRefused(400, "Bad Request: REACTIONS_TOO_MANY")
        number = int(str(given["message_id"]))
        for each in self.messages:
            if each.number == number:
                each.reactions = [one["emoji"] for one in reaction]
        self.actions.append({"reaction": reaction, "message_id": number})
        return True

    async def _call_sendChatAction(self, given: Mapping[str, Any]) -> Any:
        self._chat_id(given)
        if given.get("action") not in ("typing", "upload_photo", "record_voice", "upload_document"):
            raise BotRefused(400, "Bad Request: wrong parameter action in request")
        self.actions.append(dict(given))
        return True

    async def _call_answerCallbackQuery(self, given: Mapping[str, Any]) -> Any:
        self.answered.append(str(given["callback_query_id"]))
        return True

    async def _call_getFile(self, given: Mapping[str, Any]) -> Any:
        identity = str(given.get("file_id"))
        if identity not in self._kept:
            raise BotRefused(400, "Bad Request: invalid file_id")
        size = len(self._kept[identity])
        if size > 20 * 1024 * 1024:
            raise BotRefused(400, "Bad Request: file is too big")
        facts = {"file_id": identity, "file_unique_id": f"u{identity}", "file_size": size}
        return {**facts, "file_path": f"files/{identity}"}
