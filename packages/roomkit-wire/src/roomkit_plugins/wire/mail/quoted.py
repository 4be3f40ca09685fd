"""What a person wrote in a mail, without what it quotes and signs with: on text and on a tree alike.

A text that would be empty without its quotes is kept whole, and so is one that answers between them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from roomkit_plugins.wire.markup.tree import MarkupBlock, MarkupTree, Paragraph, Quotation, words_of

__all__ = ["cut_text", "cut_tree"]

_WROTE = re.compile(
    r"(?=.*[\d@])(?:on|le|am|el|il|op|em|a|w dniu|den|på|dne|в)\b.{4,300}"
    r"(?:wrote|a écrit|schrieb|escribió|ha scritto|schreef|escreveu|napisał\(?a?\)?|skrev|napsal|пишет)"
    r".{0,100}:\s*",
    re.IGNORECASE | re.DOTALL,
)
"""How programs introduce what is answered, by language."""
_ORIGINAL = re.compile(
    r"-{2,}\s*(?:original message|ursprüngliche nachricht|message d'origine|mensaje original"
    r"|messaggio originale|oorspronkelijk bericht|mensagem original)\s*-{2,}",
    re.IGNORECASE,
)
_FROM = re.compile(r"\*?(?:from|von|de|da|van|od)\s*:\*?\s.{3,200}", re.IGNORECASE)
_SENT = re.compile(
    r"\*?(?:sent|date|gesendet|datum|envoyé|enviado|inviato|verzonden|data|wysłano)\s*:\*?\s", re.IGNORECASE
)
_DEVICE = re.compile(
    r"(?:sent from|von|envoyé de|envoyé depuis|enviado desde|inviato da|verstuurd vanaf)\s+"
    r"(?:my|meinem|mon|mi|il mio|mijn|outlook|mail|yahoo|proton)\b.{0,60}",
    re.IGNORECASE,
)
_MOST_INTRODUCED = 3
"""Lines that an introduction is broken into."""
_LONGEST_SIGNATURE = 12


# -- text -----------------------------------------------------------------------------------------


def cut_text(text: str, *, is_forwarded: bool = False) -> tuple[str, str]:
    """Return a mail's own text, and what was cut from it; of a forwarded one the signature alone."""
    lines = text.replace("\r\n", "\n").strip("\n").split("\n")
    kept = lines if is_forwarded else _answer(lines)
    kept = _without_signature(kept)
    own = "\n".join(kept).strip()
    if not own:
        return text.strip(), ""
    return own, "" if len(kept) == len(lines) else _rest(lines, kept)


def _rest(lines: Sequence[str], kept: Sequence[str]) -> str:
    """Return the lines that are not kept, in their order; both are of one text, `kept` a subsequence."""
    rest, at = list[str](), 0
    for line in lines:
        if at < len(kept) and line == kept[at]:
            at += 1
        else:
            rest.append(line)
    return "\n".join(rest).strip()


def _answer(lines: list[str]) -> list[str]:
    """Return the lines that answer: those before a quotation, else those after it."""
    start, end = _introduction(lines)
    if start is None:
        return _without_quoted_end(lines)
    before, after = lines[:start], lines[end:]
    if not any(line.startswith(">") for line in after):
        return before if any(map(str.strip, before)) else lines
    answers = [line for line in after if line.strip() and not line.startswith(">")]
    if not answers:
        return before if any(map(str.strip, before)) else lines
    below = _below(after)
    return [*before, *below] if below is not None else lines


def _introduction(lines: list[str]) -> tuple[int | None, int]:
    """Return where what is answered is introduced: the first line, and the one after the last."""
    for at, line in enumerate(lines):
        found = line.strip()
        if not found or found.startswith(">"):
            continue
        if _ORIGINAL.fullmatch(found) or _is_head(lines, at):
            return at, len(lines)
        for count in range(1, _MOST_INTRODUCED + 1):
            if _WROTE.fullmatch(" ".join(each.strip() for each in lines[at : at + count])):
                return at, at + count
    return None, 0


def _is_head(lines: list[str], at: int) -> bool:
    """Whether the head of another mail begins at a line, as Outlook quotes it."""
    return bool(_FROM.match(lines[at].strip())) and any(
        _SENT.match(each.strip()) for each in lines[at + 1 : at + 4]
    )


def _without_quoted_end(lines: list[str]) -> list[str]:
    end = len(lines)
    while end and (not lines[end - 1].strip() or lines[end - 1].startswith(">")):
        end -= 1
    quoted = any(line.startswith(">") for line in lines[end:])
    return lines[:end] if quoted and end else lines


def _below(after: list[str]) -> list[str] | None:
    """Return the answer below one quotation; None if the answers are between quotations."""
    begin = next(at for at, line in enumerate(after) if line.startswith(">"))
    if any(map(str.strip, after[:begin])):
        return None
    end = begin
    while end < len(after) and (after[end].startswith(">") or not after[end].strip()):
        end += 1
    below = after[end:]
    return None if any(line.startswith(">") for line in below) else below


def _without_signature(lines: list[str]) -> list[str]:
    for at in range(max(1, len(lines) - _LONGEST_SIGNATURE), len(lines)):
        if lines[at] in ("-- ", "--") and any(map(str.strip, lines[:at])):
            return lines[:at]
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    if end > 1 and _DEVICE.fullmatch(lines[end - 1].strip()):
        return lines[: end - 1]
    return lines


# -- trees ----------------------------------------------------------------------------------------


def cut_tree(tree: MarkupTree, *, is_forwarded: bool = False) -> tuple[MarkupTree, MarkupTree]:
    """Return the blocks of a mail's own text, and those that were cut from it."""
    kept = list(tree) if is_forwarded else _answering(list(tree))
    kept = _unsigned(kept)
    if not kept:
        return tree, ()
    own = {id(block) for block in kept}
    return tuple(kept), tuple(block for block in tree if id(block) not in own)


def _answering(blocks: list[MarkupBlock]) -> list[MarkupBlock]:
    for at, block in enumerate(blocks):
        words = _words(block)
        if _ORIGINAL.fullmatch(words) or _is_head(words.split("\n"), 0):
            return blocks[:at] or blocks
        if _WROTE.fullmatch(words.replace("\n", " ")):
            return _around(blocks, at)
    end = len(blocks)
    while end and isinstance(blocks[end - 1], Quotation):
        end -= 1
    return blocks[:end] or blocks


def _around(blocks: list[MarkupBlock], at: int) -> list[MarkupBlock]:
    """Return the blocks around what is introduced at one: below it only where no quotation follows there."""
    before, after = blocks[:at], blocks[at + 1 :]
    if not after or not isinstance(after[0], Quotation):
        return before or blocks
    below = after[1:]
    if any(isinstance(block, Quotation) for block in below):
        return blocks
    return [*before, *below] or blocks


def _unsigned(blocks: list[MarkupBlock]) -> list[MarkupBlock]:
    for at in range(max(1, len(blocks) - _LONGEST_SIGNATURE), len(blocks)):
        if _words(blocks[at]).split("\n")[0].rstrip() == "--":
            return blocks[:at]
    if len(blocks) > 1 and _DEVICE.fullmatch(_words(blocks[-1])):
        return blocks[:-1]
    return blocks


def _words(block: MarkupBlock) -> str:
    return words_of(block.spans).strip() if isinstance(block, Paragraph) else ""
