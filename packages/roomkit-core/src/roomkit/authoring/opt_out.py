"""Words by which a person stops or resumes messages, by language.

The English ones are those that carriers and Twilio act on themselves (STOP, STOPALL, UNSUBSCRIBE, CANCEL,
END, QUIT, OPTOUT, REVOKE; START, UNSTOP), as the CTIA Messaging Principles name them. YES is not among them:
agents ask questions that it answers. A vendor that takes it as consent says so by a flag of its own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from roomkit.abc.errors import InvalidInputError
from roomkit.models.content import ConsentContent, TextContent
from roomkit.models.enums import ConsentState, EventType

if TYPE_CHECKING:
    from roomkit.models.delivery import InboundMessage

__all__ = ["OPT_OUT_LANGUAGES", "OptOutWords"]

_STOP: Mapping[str, str] = {
    "de": "stopp abmelden abbestellen",
    "en": "stop stopall unsubscribe cancel end quit optout revoke",
    "es": "parar alto baja cancelar detener",
    "fr": "arret arrêt arreter arrêter desabonner désabonner",
    "it": "ferma annulla disiscrivi",
    "ja": "停止 配信停止 ストップ",
    "nl": "afmelden stoppen",
    "pl": "wypisz rezygnuję rezygnuje",
    "pt": "parar sair cancelar",
    "zh": "停止 退订 退訂 取消",
}
_START: Mapping[str, str] = {
    "de": "anmelden",
    "en": "start unstop",
    "es": "comenzar reanudar",
    "fr": "demarrer démarrer reprendre",
    "it": "riprendi",
    "ja": "開始 再開",
    "nl": "aanmelden",
    "pl": "zapisz",
    "pt": "comecar começar retomar",
    "zh": "开始 開始 订阅 訂閱",
}
OPT_OUT_LANGUAGES: frozenset[str] = frozenset(_STOP)
"""The languages whose words are known, as ISO 639-1 codes."""
_LONGEST = 40
"""Characters: a longer message is not a single word, and is not looked at."""


class OptOutWords:
    """Recognises a message that says one word of `languages`, all known ones by default, and nothing else.

    Case, width, white space and punctuation around the word do not matter. English counts always, because
    carriers act on it whatever was agreed. `stop` are further words that revoke. Raises InvalidInputError for
    a language whose words are not known.
    """

    def __init__(self, languages: Collection[str] | None = None, *, stop: Collection[str] = ()) -> None:
        wanted = OPT_OUT_LANGUAGES if languages is None else {*languages, "en"}
        unknown = sorted(wanted - OPT_OUT_LANGUAGES)
        if unknown:
            raise InvalidInputError(
                f"opt-out words of {', '.join(unknown)} are not known: use "
                f"{', '.join(sorted(OPT_OUT_LANGUAGES))}, "
                "and give further words as stop"
            )
        granted = {word: ConsentState.GRANTED for each in wanted for word in _START[each].split()}
        revoked = {word: ConsentState.REVOKED for each in wanted for word in _STOP[each].split()}
        further = {_spelled(word): ConsentState.REVOKED for word in stop}
        self._states = {**granted, **revoked, **further}

    def state_of(self, text: str) -> ConsentState | None:
        """Return what a message's text says of being written to; None for any other text."""
        return self._states.get(_spelled(text)) if len(text) <= _LONGEST else None

    def admitted(self, message: InboundMessage, address_type: str) -> InboundMessage:
        """Return the message as one of consent, if its text is such a word; for `Channel.admit`."""
        said = message.content
        if message.event_type is not EventType.MESSAGE or not isinstance(said, TextContent):
            return message
        state = self.state_of(said.body)
        if state is None:
            return message
        consent = ConsentContent(
            address_type=address_type,
            address=message.sender_id,
            state=state,
            source="keyword",
            body=said.body,
        )
        return message.replace(content=consent, event_type=EventType.CONSENT)


def _spelled(text: str) -> str:
    """Return a text as words are compared: without case, width, and what stands around the word."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(each for each in folded if unicodedata.category(each)[0] in "LMN")
