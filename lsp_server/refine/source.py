"""The outline of a Python text, also of a half-typed one: where its functions and classes are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import parso
from parso.grammar import load_grammar
from parso.utils import split_lines

Kind = Literal["function", "class"]


@dataclass(frozen=True)
class Region:
    """Whole lines of a text, that may be replaced."""

    start: int
    """First line, from 1."""
    end: int
    """Last line, from 1; `start - 1` for an empty region, in front of line `start`."""
    name: str = ""
    """Qualified name of the function or class that it is; empty for plain lines."""


@dataclass(frozen=True)
class Definition:
    """A function or class of a text."""

    name: str
    """Qualified, as in `Outer.method`."""
    kind: Kind
    start: int
    """First line, from 1, decorators included."""
    header: int
    """Line of its `def` or `class` keyword."""
    end: int
    """Last line of its body."""
    indent: str
    """White space in front of its first line."""
    is_stub: bool
    """Its body is empty but for a docstring: `...`, `pass` or `raise NotImplementedError`."""
    docstring: str
    nested: bool
    """It stands inside a function."""
    body: int
    """First line of its body."""

    @property
    def region(self) -> Region:
        """Its lines."""
        return Region(self.start, self.end, self.name)


_HOLDS_STATEMENTS = frozenset(
    {
        "async_funcdef",
        "async_stmt",
        "decorated",
        "error_node",
        "for_stmt",
        "if_stmt",
        "suite",
        "try_stmt",
        "while_stmt",
        "with_stmt",
    }
)
"""parso's nodes that a definition may stand in."""
_MOST_MET = 10_000
"""Outermost definitions that are remembered."""
_STUB = re.compile(r"(\.\.\.|pass|raise\s+NotImplementedError(\(.*\))?)\s*;?\s*(#[^\n]*)?", re.DOTALL)


class Source:
    """A Python text with its outline; syntax errors leave holes, nothing else.

    Args:
        text: with any line endings.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def lines(self) -> list[str]:
        """The text's lines with their ends, as Python counts them."""
        lines: list[str] = list(split_lines(self.text, keepends=True))
        return lines[:-1] if lines and lines[-1] == "" else lines

    @cached_property
    def tree(self) -> Any:
        """parso's tree: it holds every character of the text, whatever is wrong with it."""
        return parso.parse(self.text)  # type: ignore[no-untyped-call]  # parso's `parse` has no annotations

    @cached_property
    def definitions(self) -> list[Definition]:
        """Every function and class, in the order of the text."""
        return list(self.within(self.tree.children))

    @cached_property
    def whole(self) -> Region:
        """All of its lines."""
        return Region(1, len(self.lines))

    @cached_property
    def newline(self) -> str:
        """The text's own line ending (that of its first line)."""
        for line in self.lines:
            for ending in ("\r\n", "\n", "\r"):
                if line.endswith(ending):
                    return ending
        return "\n"

    @cached_property
    def indent_unit(self) -> str:
        """One level of indentation as this text writes it."""
        for definition in self.definitions:
            if definition.body > definition.header:
                inner = _leading(self.lines[definition.body - 1])
                if len(inner) > len(definition.indent):
                    return inner[len(definition.indent) :]
        return "    "

    def find(self, name: str) -> Definition | None:
        """Return the definition of that qualified name; of several, the last, which is the one in force."""
        found = [d for d in self.definitions if d.name == name]
        return found[-1] if found else None

    def at(self, region: Region) -> Definition | None:
        """Return the definition that a region is; several may share its name, as a property's getter and setter do."""
        found = [d for d in self.definitions if d.name == region.name]
        return next((d for d in found if d.start == region.start), found[-1] if found else None)

    def enclosing(self, line: int, *, kind: Kind | None = None) -> Definition | None:
        """Return the innermost definition around a line (from 1)."""
        around = [
            d for d in self.definitions if d.start <= line <= d.end and (kind is None or d.kind == kind)
        ]
        return max(around, key=lambda d: d.start, default=None)

    def outermost_function(self, line: int) -> Definition | None:
        """Return the function or method around a line (from 1) that is not itself inside a function."""
        around = [
            d for d in self.definitions if d.kind == "function" and not d.nested and d.start <= line <= d.end
        ]
        return max(around, key=lambda d: d.start, default=None)

    def segment(self, start: int, end: int) -> str:
        """Return the text of the lines start to end, both included."""
        return "".join(self.lines[start - 1 : end])

    def indentation_block(self, line: int) -> Region:
        """Return the block of lines around one, by indentation alone: the way out when the text does not parse."""
        lines = self.lines
        if not lines:
            return Region(1, 0)
        line = min(max(line, 1), len(lines))
        start = line
        while start > 1 and not _starts_block(lines[start - 1]):
            start -= 1
        depth = len(_leading(lines[start - 1]).expandtabs())
        while start > 1 and lines[start - 2].lstrip().startswith("@"):
            start -= 1
        end = start
        seen_header = False
        for number in range(start, len(lines) + 1):
            stripped = lines[number - 1].strip()
            if stripped and not stripped.startswith("#"):
                inside = len(_leading(lines[number - 1]).expandtabs()) > depth
                if not inside and seen_header and not stripped.startswith((")", "]", "}")):
                    break
                seen_header = seen_header or not stripped.startswith("@")
                end = number
        name = re.match(r"\s*(?:async\s+)?(?:def|class)\s+(\w+)", lines[_header(lines, start) - 1])
        return Region(start, max(end, line), name.group(1) if name else "")

    def within(self, nodes: Iterable[Any], prefix: str = "", nested: bool = False) -> Iterator[Definition]:
        """Return the functions and classes that some of parso's nodes of this text are, or have in them.

        Args:
            nodes: in the order of the text.
            prefix: of their qualified names.
            nested: whether they stand inside a function.
        """
        for node in nodes:
            if node.type in ("funcdef", "classdef"):
                definition = self._definition(node, prefix, nested)
                yield definition
                inner = nested or definition.kind == "function"
                yield from self.within(node.children, definition.name + ".", inner)
            elif node.type in _HOLDS_STATEMENTS:
                yield from self.within(node.children, prefix, nested)

    def _definition(self, node: Any, prefix: str, nested: bool) -> Definition:
        outer = node
        if outer.parent is not None and outer.parent.type in ("async_stmt", "async_funcdef"):
            outer = outer.parent
        header = outer.start_pos[0]
        if outer.parent is not None and outer.parent.type == "decorated":
            outer = outer.parent
        start = outer.start_pos[0]
        last = node.get_last_leaf()
        end = last.end_pos[0]
        if last.type == "newline" or last.end_pos[1] == 0:
            end = last.start_pos[0] if last.type == "newline" else end - 1
        suite = node.children[-1]
        body = suite
        statements: list[Any] = [suite]
        if suite.type == "suite":
            statements = [c for c in suite.children if c.type != "newline"]
            body = statements[0] if statements else suite
        docstring, is_stub = _body(statements)
        return Definition(
            name=prefix + node.name.value,
            kind="function" if node.type == "funcdef" else "class",
            start=start,
            header=header,
            end=max(end, header),
            indent=_leading(self.lines[start - 1]),
            is_stub=is_stub,
            docstring=docstring,
            nested=nested,
            body=body.start_pos[0],
        )


class Outlines:
    """The outlines of texts as they are edited: of each only what has changed is parsed again.

    To be used by one thread. Nothing is kept of parso's trees but the definitions, for the next parse changes the tree.

    Args:
        most: texts that are kept up with.
    """

    def __init__(self, most: int = 8) -> None:
        self._grammar = load_grammar()
        self._slots = [f"outline-{number}" for number in range(most)]
        """What parso knows its earlier trees by."""
        self._known: dict[str, tuple[str, Source]] = {}
        """By uri, the slot and the latest outline, the least recently used first."""
        self._met: dict[str, list[Definition]] = {}
        """By the lines of an outermost definition, it and what is in it, as if they began the text."""

    def __call__(self, uri: str, text: str) -> Source:
        """Return the outline of a text.

        Args:
            uri: what it is known by while it is edited.
            text: as it is now.
        """
        slot, known = self._known.pop(uri, ("", None))
        if known is None or known.text != text:
            known = Source(text)
            if not slot:
                slot = self._free_slot()
            # The file need not exist: parso uses its name to find the tree that it made before.
            tree = self._grammar.parse(text, path=slot, diff_cache=True)
            definitions = list(self._within(known, tree.children))
            if all(_stands_there(known, each) for each in definitions):
                known.definitions = definitions
        self._known[uri] = slot, known
        return known

    def _within(self, source: Source, nodes: Iterable[Any]) -> Iterator[Definition]:
        """Return what `Source.within` does; a definition whose lines were met before is not looked into again."""
        for node in nodes:
            if node.type not in ("funcdef", "classdef", "decorated"):
                yield from source.within([node])
                continue
            above = node.start_pos[0] - 1
            text = source.segment(above + 1, node.end_pos[0])
            if text not in self._met:
                if len(self._met) >= _MOST_MET:
                    self._met.clear()
                self._met[text] = [_moved(each, -above) for each in source.within([node])]
            yield from (_moved(each, above) for each in self._met[text])

    def _free_slot(self) -> str:
        if len(self._known) < len(self._slots):
            taken = {slot for slot, _ in self._known.values()}
            return next(slot for slot in self._slots if slot not in taken)
        slot, _ = self._known.pop(next(iter(self._known)))
        return slot


def _moved(definition: Definition, by: int) -> Definition:
    """Return a definition that stands so many lines further down."""
    return Definition(
        definition.name,
        definition.kind,
        definition.start + by,
        definition.header + by,
        definition.end + by,
        definition.indent,
        definition.is_stub,
        definition.docstring,
        definition.nested,
        definition.body + by,
    )


def _stands_there(source: Source, definition: Definition) -> bool:
    """Whether a definition is where it is said to be: parsing in parts has had its bugs."""
    line = source.lines[definition.header - 1] if definition.header <= len(source.lines) else ""
    return definition.name.rpartition(".")[2] in line and definition.end <= len(source.lines)


def _body(statements: list[Any]) -> tuple[str, bool]:
    """Return a body's docstring, and whether there is nothing else in it that does anything."""
    code = (part for each in statements if (part := each.get_code(include_prefix=False).strip()))
    first = next(code, "")
    if re.match(r"[rRuU]?(\"|')", first):
        return first, all(_STUB.fullmatch(part) for part in code)
    return "", (not first or _STUB.fullmatch(first) is not None) and all(
        _STUB.fullmatch(part) for part in code
    )


def _leading(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t\f"))]


def _starts_block(line: str) -> bool:
    return re.match(r"\s*(?:async\s+)?(?:def|class)\s", line) is not None


def _header(lines: list[str], start: int) -> int:
    while start < len(lines) and lines[start - 1].lstrip().startswith("@"):
        start += 1
    return start
