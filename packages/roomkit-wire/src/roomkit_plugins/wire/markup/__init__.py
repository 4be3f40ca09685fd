"""Formatted text between formats: Markdown, HTML and plain text to one tree, and the tree to any of them.

`parse` reads, `to_html` and `to_text` write; a vendor's plugin writes its own format from the tree, whose
parts are in `roomkit_plugins.wire.markup.tree`.
"""

from __future__ import annotations

from typing import Literal

from roomkit.abc.errors import InvalidInputError
from roomkit_plugins.wire.markup.tree import MarkupTree
from roomkit_plugins.wire.markup.writers import to_html as to_html
from roomkit_plugins.wire.markup.writers import to_text as to_text

__all__ = ["LONGEST_BODY", "parse", "to_html", "to_text"]

LONGEST_BODY = 500_000
"""Characters of a text that is read as Markdown or HTML."""


def parse(
    body: str, format: Literal["markdown", "html", "plain"], *, keeps_lines: bool = False
) -> MarkupTree:
    """Return the tree of a text from outside; whatever it holds, no text that a reader sees is lost.

    Blocks and spans nested more than `MAX_DEPTH` deep lose their form. HTML within Markdown is text. With
    `keeps_lines` each line of a paragraph of Markdown stays a line, as chats show it. Raises
    InvalidInputError for a text of more than `LONGEST_BODY` characters that is not plain.
    """
    from roomkit_plugins.wire.markup.plain import plain_tree

    if format == "plain":
        return plain_tree(body)
    if len(body) > LONGEST_BODY:
        raise InvalidInputError(
            f"a text of {len(body)} characters cannot be read as {format}: at most {LONGEST_BODY} are; "
            "attach it as a file"
        )
    if format == "html":
        from roomkit_plugins.wire.markup.html import html_tree

        return html_tree(body)
    from roomkit_plugins.wire.markup.markdown import markdown_tree

    return markdown_tree(body, keeps_lines=keeps_lines)
