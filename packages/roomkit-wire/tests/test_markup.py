"""Formatted text: one tree for Markdown, HTML and plain text."""

from __future__ import annotations

import string
from html.parser import HTMLParser
from typing import Any, Literal, override

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomkit.abc import InvalidInputError
from roomkit_plugins.wire.markup import LONGEST_BODY, parse, to_html, to_text
from roomkit_plugins.wire.markup.html import MOST_TAGS
from roomkit_plugins.wire.markup.tree import (
    LINE_BREAK,
    MAX_DEPTH,
    CodeBlock,
    CodeSpan,
    Divider,
    Grid,
    Heading,
    Hyperlink,
    Listing,
    MarkupBlock,
    MarkupSpan,
    MarkupTree,
    Paragraph,
    Picture,
    Quotation,
    Styled,
    words_of,
)

MARKDOWN = """# Your *order*

It is **ready, _really_**: [see it](https://shop.example/?a=1&b=2), ~~tomorrow~~ today.
A soft break; a hard one:\\
`a < b` ![a map](https://shop.example/map.png)

- one
- two
  3. three
  4. four

> said
> > before

```py
x = "<1>"
```

| what | price |
|---|---|
| tea | 3 |

***
"""
TREE: MarkupTree = (
    Heading(1, ("Your ", Styled("italic", ("order",)))),
    Paragraph(
        (
            "It is ",
            Styled("bold", ("ready, ", Styled("italic", ("really",)))),
            ": ",
            Hyperlink("https://shop.example/?a=1&b=2", ("see it",)),
            ", ",
            Styled("strike", ("tomorrow",)),
            " today. A soft break; a hard one:",
            LINE_BREAK,
            CodeSpan("a < b"),
            " ",
            Picture("https://shop.example/map.png", "a map"),
        )
    ),
    Listing(
        (
            (Paragraph(("one",)),),
            (
                Paragraph(("two",)),
                Listing(((Paragraph(("three",)),), (Paragraph(("four",)),)), start=3),
            ),
        )
    ),
    Quotation((Paragraph(("said",)), Quotation((Paragraph(("before",)),)))),
    CodeBlock('x = "<1>"', "py"),
    Grid(((("what",), ("price",)), (("tea",), ("3",))), has_header=True),
    Divider(),
)
TEXT = """Your order

It is ready, really: see it (https://shop.example/?a=1&b=2), tomorrow today. A soft break; a hard one:
a < b [a map]

- one
- two
  3. three
  4. four

> said
>
> > before

x = "<1>"

what | price
tea | 3

---"""


def test_markdown_is_a_tree_of_all_its_kinds() -> None:
    assert parse(MARKDOWN.replace("  3. three\n  4. four", "\n  3. three\n  4. four"), "markdown") == TREE


def test_what_is_written_as_html_is_read_as_the_same_tree() -> None:
    assert parse(to_html(TREE), "html") == TREE


def test_a_tree_is_plain_text_without_marks() -> None:
    assert to_text(TREE) == TEXT


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>"),
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"),
        ("![x](javascript:alert(1))", "<p>![x](javascript:alert(1))</p>"),
        (
            '![x](<https://a.example/"onerror=alert(1)>)',
            '<p><img src="https://a.example/%22onerror=alert(1)" alt="x"></p>',
        ),
        ("[x](data:text/html;base64,AA)", "<p>[x](data:text/html;base64,AA)</p>"),
        ("**a", "<p>**a</p>"),
        ('```x" onclick=y\nz\n```', '<pre><code class="language-x&quot;">z\n</code></pre>'),
    ],
)
def test_markdown_from_outside_carries_no_script(body: str, written: str) -> None:
    assert to_html(parse(body, "markdown")) == written


@pytest.mark.parametrize(
    ("body", "tree"),
    [
        ("", ()),
        ("<p> a  <b> b</b>\n c </p>", (Paragraph(("a ", Styled("bold", ("b",)), " c")),)),
        ("a<br>\n b<br><br>", (Paragraph(("a", LINE_BREAK, "b")),)),
        ("<div>a<div>b</div>c</div>", (Paragraph(("a",)), Paragraph(("b",)), Paragraph(("c",)))),
        ("<p>a<p>b", (Paragraph(("a",)), Paragraph(("b",)))),
        (
            "<b>a<i>b</b>c</i>",
            (Paragraph((Styled("bold", ("a", Styled("italic", ("b",)))), Styled("italic", ("c",)))),),
        ),
        ("a<!-- b --><script>c</script><style>d</style><title>e</title>f", (Paragraph(("af",)),)),
        (
            'a<span style="display:none">b<b>c</b></span><p hidden>d</p><img style="display: none" alt="e">',
            (Paragraph(("a",)),),
        ),
        ('<a href="javascript:x">a</a><a href="/b">b</a>', (Paragraph(("ab",)),)),
        (
            '<a href="https://a.example"> </a>',
            (Paragraph((Hyperlink("https://a.example", ("https://a.example",)),)),),
        ),
        (
            '<a href="https://a.example"><div>a</div><div>b</div></a>',
            (
                Paragraph((Hyperlink("https://a.example", ("a",)),)),
                Paragraph((Hyperlink("https://a.example", ("b",)),)),
            ),
        ),
        (
            '<img src="cid:logo" alt="ACME"><img src="data:image/png;base64,AA" alt="b">',
            (Paragraph((Picture("cid:logo", "ACME"), "b")),),
        ),
        (
            "<ul>a<li>b</li><ul><li>c</li></ul></ul>",
            (Listing(((Paragraph(("a",)),), (Paragraph(("b",)), Listing(((Paragraph(("c",)),),))))),),
        ),
        ("<ol start=x><li>a</ol>", (Listing(((Paragraph(("a",)),),), start=1),)),
        ("<h2><div>a</div></h2>", (Heading(2, ("a",)),)),
        ("<pre>\n a\n  b\n</pre>", (CodeBlock(" a\n  b"),)),
        ("<table><tr><td><p>a</p></td><td>b</td></tr></table>", (Paragraph(("a",)), Paragraph(("b",)))),
        ("<table><tr><td>a<td>b<tr><td>c<td>d</table>", (Grid(((("a",), ("b",)), (("c",), ("d",)))),)),
        (
            '<table role="presentation"><tr><td>a<td>b<tr><td>c<td>d</table>',
            tuple(Paragraph((x,)) for x in "abcd"),
        ),
        (
            "<table><caption>t</caption><tr><th>a<th>b</table>",
            (Paragraph(("t",)), Grid(((("a",), ("b",)),), has_header=True)),
        ),
    ],
)
def test_html_is_read_as_a_reader_sees_it(body: str, tree: MarkupTree) -> None:
    assert parse(body, "html") == tree


@pytest.mark.parametrize(
    ("body", "tree"),
    [
        ("a\nb\r\n\r\n \nc", (Paragraph(("a", LINE_BREAK, "b")), Paragraph(("c",)))),
        (
            "see (https://a.example/x_(y)).",
            (Paragraph(("see (", Hyperlink("https://a.example/x_(y)", ("https://a.example/x_(y)",)), ").")),),
        ),
        ("<b>&amp; *x*", (Paragraph(("<b>&amp; *x*",)),)),
        ("\n\n", ()),
    ],
)
def test_plain_text_keeps_its_marks_and_line_breaks(body: str, tree: MarkupTree) -> None:
    assert parse(body, "plain") == tree


def test_links_name_their_address_once() -> None:
    tree = parse("[a@b.example](mailto:a@b.example) <https://a.example>", "markdown")
    assert to_text(tree) == "a@b.example https://a.example"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (">" * 3_000 + "word", "markdown"),
        ("- " * 3_000 + "word", "markdown"),
        ("*" * 3_000 + "word" + "*" * 3_000, "markdown"),
        ("![" * 3_000 + "word" + "](https://a.example)" * 3_000, "markdown"),
        ("[" * 90 + "word" + "](https://a.example)" * 90, "markdown"),
        ("![" * 90 + "word" + "](https://a.example)" * 90, "markdown"),
        ("<blockquote>" * 3_000 + "word", "html"),
        ("<ul><li>" * 3_000 + "word", "html"),
        ("<b><i><u>" * 3_000 + "word", "html"),
        ("<table><tr><td>" * 3_000 + "word", "html"),
        ("<div><b>" * MOST_TAGS + "word<script>unseen</script>", "html"),
    ],
)
def test_what_nests_too_deep_keeps_its_text(body: str, kind: Literal["markdown", "html"]) -> None:
    tree = parse(body, kind)
    assert "word" in to_text(tree)
    assert "unseen" not in to_text(tree)
    assert depth(tree) <= MAX_DEPTH + 2


def test_a_text_without_bound_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="cannot be read as html: at most"):
        parse("x" * (LONGEST_BODY + 1), "html")
    assert len(to_text(parse("x" * (LONGEST_BODY + 1), "plain"))) == LONGEST_BODY + 1


def depth(tree: Any) -> int:
    """Return how deep the blocks and spans of a tree nest."""
    match tree:
        case tuple():
            return max(map(depth, tree), default=0)
        case Quotation(inner) | Listing(inner) | Grid(inner):
            return 1 + depth(inner)
        case Paragraph(spans) | Heading(_, spans):
            return depth(spans)
        case Styled(_, spans) | Hyperlink(_, spans):
            return 1 + depth(spans)
        case _:
            return 0


# -- any text -------------------------------------------------------------------------------------

MARKS = [
    "\n\n",
    "**",
    "```",
    "](",
    "- ",
    "1. ",
    "> ",
    "é",
    "🙂",
    "&amp;",
    "<!--",
    "-->",
    "<![",
    "![",
    "javascript:",
]
ELEMENTS = ["<b>", "</b>", "<p>", "<td>", "<table>", "<ul>", "<li>", "<a href='https://a.example'>", "<pre>"]
FRAGMENTS = st.sampled_from([*"<>/&\"'\n *_`[)|a\0", *MARKS, *ELEMENTS, "<img src=x onerror=y>", "<script>"])
BODIES = st.lists(FRAGMENTS, max_size=60).map("".join)


TAGS = {
    *("p", "br", "h1", "h2", "strong", "em", "s", "u", "a", "img", "ul", "ol", "li", "pre", "code", "hr"),
    *("blockquote", "table", "tr", "th", "td"),
}
ATTRIBUTES = {"href", "src", "alt", "start", "class"}


class Checked(HTMLParser):
    """Fails for an element or attribute that the writer does not write, and for a link that may run code."""

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert ATTRIBUTES.issuperset(name for name, _ in attrs)
        for name, value in attrs:
            assert name not in ("href", "src") or str(value).startswith(("https://", "http://", "cid:"))

    @override
    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def test_a_chat_keeps_the_lines_of_a_paragraph() -> None:
    """CommonMark shows a line break of the source as a space; code keeps its own either way."""
    body = "one\n**two\nthree**\n\n```\na\nb\n```"
    assert to_text(parse(body, "markdown")) == "one two three\n\na\nb"
    assert to_text(parse(body, "markdown", keeps_lines=True)) == "one\ntwo\nthree\n\na\nb"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(body=BODIES, kind=st.sampled_from(["markdown", "html", "plain"]))
def test_any_text_is_read_and_written_safely(body: str, kind: Literal["markdown", "html", "plain"]) -> None:
    tree = parse(body, kind)
    Checked().feed(to_html(tree))
    to_text(tree)


TEXTS = st.text(string.ascii_letters + "<&>\"'", min_size=1, max_size=8)
SPANS: st.SearchStrategy[tuple[MarkupSpan, ...]] = st.recursive(
    st.one_of(TEXTS, TEXTS.map(CodeSpan), TEXTS.map(lambda alt: Picture("https://a.example/p", alt))).map(
        lambda span: (span,)
    ),
    lambda inner: inner.flatmap(
        lambda spans: st.sampled_from(["bold", "italic", "strike", "underline"]).map(
            lambda style: (Styled(style, spans),)  # type: ignore[arg-type]
        )
    ),
    max_leaves=4,
)
BLOCKS: st.SearchStrategy[tuple[MarkupBlock, ...]] = st.recursive(
    st.one_of(
        SPANS.map(Paragraph),
        st.builds(Heading, st.integers(1, 6), SPANS),
        st.builds(CodeBlock, TEXTS, st.sampled_from(["", "py"])),
        st.just(Divider()),
    ).map(lambda block: (block,)),
    lambda inner: st.one_of(
        inner.map(lambda blocks: (Quotation(blocks),)),
        st.builds(
            lambda items, start: (Listing(tuple(items), start),),
            st.lists(inner, min_size=1, max_size=3),
            st.none() | st.integers(1, 99),
        ),
        st.tuples(inner, inner).map(lambda two: (*two[0], *two[1])),
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(tree=BLOCKS)
def test_any_tree_that_is_written_as_html_is_read_as_it_was(tree: MarkupTree) -> None:
    assert parse(to_html(tree), "html") == tree


@settings(max_examples=200, deadline=None, derandomize=True)
@given(tree=BLOCKS)
def test_any_tree_keeps_its_words_as_text(tree: MarkupTree) -> None:
    text = to_text(tree)
    for block in tree:
        if isinstance(block, Paragraph | Heading):
            assert words_of(s for s in block.spans if not isinstance(s, Picture)) in text
