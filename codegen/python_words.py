"""The words of Python code: what a compiler reads, without comments and blank lines."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from functools import lru_cache

LAYOUT = {tokenize.NEWLINE: "newline", tokenize.INDENT: "indent", tokenize.DEDENT: "dedent"}
"""Words for tokens whose text differs between versions of Python."""
PROSE = (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER)
"""Tokens that say nothing to a compiler."""

_UNUSUAL = re.compile("\"\"\"|'''|[\\\\\t\f\r]")
"""What may make a statement end where brackets do not tell, or indent it by other than spaces."""
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|#.*""")


def words(source: str) -> Iterator[str]:
    """The words of a file.

    Kernels share most of their statements, so that each statement is split into words once.
    """
    if _UNUSUAL.search(source):
        yield from _words(source)
        return
    indents = [0]
    for statement in _statements(source):
        text = statement.lstrip(" ")
        indent = len(statement) - len(text)
        if indent > indents[-1]:
            indents.append(indent)
            yield LAYOUT[tokenize.INDENT]
        while indent < indents[-1]:
            indents.pop()
            yield LAYOUT[tokenize.DEDENT]
        yield from _words_of_statement(text)
    yield from [LAYOUT[tokenize.DEDENT]] * (len(indents) - 1)


def _statements(source: str) -> Iterator[str]:
    """The lines of a file that are no comments, those of one statement together."""
    lines: list[str] = []
    depth = 0
    for line in source.split("\n"):
        if not lines and (not line.strip() or line.lstrip().startswith("#")):
            continue
        lines.append(line)
        bare = _QUOTED.sub("", line)
        depth += sum(map(bare.count, "([{")) - sum(map(bare.count, ")]}"))
        if depth <= 0:
            yield "\n".join(lines)
            lines, depth = [], 0
    if lines:
        yield "\n".join(lines)


@lru_cache(maxsize=8192)
def _words_of_statement(text: str) -> tuple[str, ...]:
    return tuple(_words(f"{text}\n"))


def _words(source: str) -> Iterator[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return (LAYOUT.get(t.type, t.string) for t in tokens if t.type not in PROSE)
