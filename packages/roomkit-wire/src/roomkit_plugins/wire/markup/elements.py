"""HTML from outside as elements: read as a browser reads it, by nh3 (html5ever).

What no reader sees is dropped: scripts, styles, comments, elements that are hidden.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import override

from roomkit_plugins.wire.markup.tree import MAX_DEPTH

__all__ = ["BLOCKS", "Element", "element_of"]

_BLOCK_TAGS = """
    address article aside blockquote body caption center dd div dl dt fieldset figcaption figure footer form
    h1 h2 h3 h4 h5 h6 header hr html li main nav ol p pre section summary details table tbody td tfoot th
    thead tr ul
"""
_INLINE_TAGS = """
    a abbr b bdi bdo big br cite code del dfn em font i img ins kbd label mark q s samp small span strike
    strong sub sup time tt u var
"""
_UNSEEN_TAGS = (
    "script style title template noscript iframe object svg math select textarea audio video canvas"
)
BLOCKS = frozenset(_BLOCK_TAGS.split())
_INLINE = frozenset(_INLINE_TAGS.split())
_UNSEEN = frozenset(_UNSEEN_TAGS.split())
_VOID = frozenset({"br", "hr", "img"})
_ATTRIBUTES = {
    "*": {"style", "hidden"},
    "a": {"href"},
    "img": {"src", "alt"},
    "ol": {"start"},
    "code": {"class"},
    "table": {"role"},
    "blockquote": {"cite"},
}
_HIDDEN = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)(?![\w-])", re.IGNORECASE)
_DEEPEST = 4 * MAX_DEPTH
"""How deep elements are kept: a block of the tree takes several elements, as a table does."""


@dataclass(slots=True)
class Element:
    """An element, its attributes and what is in it, in order."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)
    has_block: bool = False
    """Whether it is a block, or has one within it."""


def element_of(body: str) -> Element:
    """Return the root of the elements that a reader sees, nested at most 96 deep; deeper text is kept."""
    import nh3

    clean = nh3.clean(
        body,
        tags=set(BLOCKS | _INLINE),
        clean_content_tags=set(_UNSEEN),
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto", "tel", "cid"},
        link_rel=None,
    )
    builder = _Builder()
    builder.feed(clean)
    builder.close()
    return builder.root


class _Builder(HTMLParser):
    """Reads what nh3 writes: every element is closed, and in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("body", has_block=True)
        self._open = [self.root]
        self._too_deep = 0
        self._hidden = 0

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        is_void = tag in _VOID
        if self._hidden or _is_hidden(attributes):
            self._hidden += not is_void
        elif not is_void and len(self._open) > _DEEPEST:
            self._too_deep += 1
        else:
            self._add(Element(tag, attributes), tag)

    def _add(self, element: Element, tag: str) -> None:
        self._open[-1].children.append(element)
        if tag in BLOCKS:
            element.has_block = True
            self._mark_block()
        if tag not in _VOID:
            self._open.append(element)

    def _mark_block(self) -> None:
        """Note a block in the inline elements around it."""
        for around in reversed(self._open):
            if around.has_block:
                return
            around.has_block = True

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if self._hidden:
            self._hidden -= 1
        elif self._too_deep:
            self._too_deep -= 1
        elif len(self._open) > 1:
            self._open.pop()

    @override
    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._open[-1].children.append(data)


def _is_hidden(attributes: dict[str, str]) -> bool:
    return "hidden" in attributes or _HIDDEN.search(attributes.get("style", "")) is not None
