"""Put a reply's code in the place of the target and leave every other byte of the file as it is."""

from __future__ import annotations

import ast
import builtins
import io
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from lsp_server.refine.reply import NoCode
from lsp_server.refine.source import Definition, Region, Source

BOM = "\ufeff"


@dataclass(frozen=True)
class Spliced:
    """A file's text after the splice."""

    text: str
    region: Region
    """Where the target's new code stands in it."""
    imports: tuple[str, ...] = ()
    """Import statements that the new code needed and the file did not have."""
    helpers: tuple[str, ...] = ()
    """Names of new definitions that came with the target."""


def splice(source: Source, region: Region, code: str) -> Spliced:
    """Replace a region by code, indented and ended as the file is.

    The target's decorators stay when the code brings none. What the new code needs and the file lacks comes with
    it: imports go below the file's own, new functions and constants in front of the target. All else of the
    file stays byte for byte.

    Args:
        source: the file.
        region: its lines to replace.
        code: Python source as a model writes it, with any indentation.

    Raises:
        NoCode: the code has no definition for the region's name, or nothing but what the file already has.
    """
    if source.text.startswith(BOM):
        below = splice(Source(source.text.removeprefix(BOM)), region, code)
        return replace(below, text=BOM + below.text)
    reply = Source(_dedent(code))
    target = source.at(region) if region.name else None
    if region.name:
        new, old_indent, helpers = _definition(source, reply, region, target)
        known = set(_module_names(source))
    else:
        new, old_indent, helpers = _lines(source, reply, region)
        known = {*_module_names(source, region), *_module_names(Source(new))}
    indent = _indent_at(source, region, target)
    block = _reindent(new, old_indent, indent, source)
    used = _names(new + "".join(h[1] for h in helpers))
    imports = _missing_imports(reply, used, known)
    lines = list(source.lines)
    head, tail = lines[: region.start - 1], lines[region.end :]
    if not tail and lines and not lines[-1].endswith(("\n", "\r")):
        if region.end >= region.start:
            block[-1] = block[-1].rstrip("\r\n")  # the file ended without a newline, and still does
        else:
            head[-1] += source.newline
    elif region.end < region.start and not region.name and tail and tail[0].strip():
        block.append(source.newline)
    front = _in_front(source, region, head, helpers)
    at = min(_import_line(source), len(head)) if imports else 0
    statements = [statement + source.newline for statement in imports]
    if at and head[:at] and not head[at - 1].endswith(("\n", "\r")):
        statements.insert(0, source.newline)
    head = head[:at] + statements + head[at:] if imports else head
    new_head = [*head[: front.at + len(statements)], *front.lines, *head[front.at + len(statements) :]]
    start = len(new_head) + 1
    return Spliced(
        text="".join([*new_head, *block, *tail]),
        region=Region(start, start + len(block) - 1, region.name),
        imports=tuple(imports),
        helpers=tuple(name for name, _ in helpers),
    )


@dataclass(frozen=True)
class _Insertion:
    at: int
    """Index into the lines in front of the region."""
    lines: list[str]


def _definition(
    source: Source, reply: Source, region: Region, target: Definition | None
) -> tuple[str, str, list[tuple[str, str]]]:
    """Return the target's new code, its indentation in the reply, and what new things it needs."""
    last = region.name.rpartition(".")[2]
    named = [d for d in reply.definitions if d.name == region.name]
    named = named or [d for d in reply.definitions if d.name == last]
    if not named:
        raise NoCode(f"The code does not define `{region.name}`.")
    found = _counterpart(named, reply, source, target)
    start = found.start
    code = reply.segment(start, found.end)
    if target is not None and found.start == found.header and target.start < target.header:
        # Models tend to leave decorators out; a reply that means to change them writes some.
        decorators = source.segment(target.start, target.header - 1)
        code = _replace_indent(decorators, target.indent, found.indent) + code
    return code, found.indent, _helpers(source, reply, {found.name.split(".")[0], last}, code)


def _counterpart(
    named: list[Definition], reply: Source, source: Source, target: Definition | None
) -> Definition:
    """Return which of a reply's definitions of one name is meant: a property's getter and setter share theirs."""
    if target is None or len(named) == 1:
        return named[-1]
    decorators = source.segment(target.start, target.header - 1).split()
    same = [d for d in named if reply.segment(d.start, d.header - 1).split() == decorators]
    return (same or named)[-1]


def _lines(source: Source, reply: Source, region: Region) -> tuple[str, str, list[tuple[str, str]]]:
    """Return a reply's code without what the file has already, outside of the lines that are replaced.

    Imports are left to where the file has its own, which is in the code itself if the lines to replace have some.
    """
    known = {d.name for d in source.definitions if d.start < region.start or d.end > region.end}
    imported = set(_module_names(source, region))
    segment = _segment(source, region)
    # Also where the lines do not parse, which may be why they are replaced.
    replaces_imports = region == source.whole or re.search(r"^\s*(?:import|from)\s", segment, re.MULTILINE)
    at_top = region.start <= max(1, _import_line(source))
    drop: set[int] = set()
    for node in _statements(reply.text):
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            there = node.name in known
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound = {alias.asname or alias.name.split(".")[0] for alias in node.names}
            misplaced = isinstance(node, ast.ImportFrom) and node.module == "__future__" and not at_top
            there = bound <= imported or not replaces_imports or misplaced
        else:
            there = False
        if there:
            drop.update(range(first, (node.end_lineno or node.lineno) + 1))
    kept = "".join(line for n, line in enumerate(reply.lines, 1) if n not in drop).strip("\r\n")
    if not kept.strip():
        raise NoCode("The code holds nothing that the file does not have already.")
    return kept + "\n", "", []


def _statements(code: str) -> list[ast.stmt]:
    """Return the statements at the top of some code; none if it does not parse."""
    try:
        return ast.parse(code).body
    except (SyntaxError, ValueError):
        return []


def _segment(source: Source, region: Region) -> str:
    return source.segment(region.start, region.end) if region.end >= region.start else ""


def _helpers(source: Source, reply: Source, skip: set[str], code: str) -> list[tuple[str, str]]:
    """Return new module-level functions, classes and constants of a reply that its target needs."""
    known = {*_module_names(source), *dir(builtins), *skip}
    new: dict[str, str] = {}
    for node in _statements(reply.text):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        else:
            continue
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        if name not in known:
            new[name] = reply.segment(first, node.end_lineno or node.lineno).rstrip("\r\n") + "\n"
    needed: list[tuple[str, str]] = []
    pending = _names(code)
    while wanted := [name for name in new if name in pending]:
        for name in wanted:
            needed.append((name, new.pop(name)))
            pending |= _names(needed[-1][1])
    order = list(_module_names(reply))
    return sorted(needed, key=lambda h: order.index(h[0]))


def _in_front(source: Source, region: Region, head: list[str], helpers: list[tuple[str, str]]) -> _Insertion:
    """Say where helpers go: in front of the outermost definition around the target, comments above it included."""
    if not helpers:
        return _Insertion(0, [])
    outer = [d for d in source.definitions if "." not in d.name and d.start <= region.start <= d.end]
    at = (outer[0].start if outer else region.start) - 1
    top = _import_line(source)
    while at > top and head[at - 1].lstrip().startswith("#"):
        at -= 1
    lines: list[str] = []
    for _, text in helpers:
        lines += _reindent(text, "", "", source)
        lines += [source.newline, source.newline]
    return _Insertion(at, lines)


def _reindent(code: str, old: str, new: str, source: Source) -> list[str]:
    """Move code from one indentation to another, in the file's own unit and line ending.

    Lines inside a string are content, not layout: they stay, but for docstrings, which follow their function.
    """
    piece = Source(code)
    inside = _string_lines(code)
    unit = piece.indent_unit
    lines: list[str] = []
    for number, line in enumerate(piece.lines, 1):
        body = line.rstrip("\r\n")
        if inside.get(number) == "string":
            lines.append(body + source.newline)
            continue
        if not body.strip():
            lines.append(source.newline)
            continue
        if body.startswith(old):
            body = body[len(old) :]
        depth = 0
        if unit != source.indent_unit:
            while body.startswith(unit):
                body = body[len(unit) :]
                depth += 1
        lines.append(new + source.indent_unit * depth + body + source.newline)
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    return lines


def _string_lines(code: str) -> dict[int, str]:
    """Return the lines that start inside a string: `string`, or `docstring` where it is a statement of its own."""
    inside: dict[int, str] = {}
    starts_statement = True
    try:
        for token in tokenize.generate_tokens(io.StringIO(_dedent(code)).readline):
            if token.type in (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)):
                kind = "docstring" if starts_statement and token.type == tokenize.STRING else "string"
                for line in range(token.start[0] + 1, token.end[0] + 1):
                    inside[line] = kind
            if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
                starts_statement = True
            elif token.type not in (tokenize.NL, tokenize.COMMENT):
                starts_statement = False
    except (tokenize.TokenError, IndentationError, SyntaxError):
        pass  # a reply that was cut off: what was read so far is right
    return inside


def _indent_at(source: Source, region: Region, target: Definition | None) -> str:
    if target is not None:
        return target.indent
    for number in range(region.start, region.end + 1):
        line = source.lines[number - 1]
        if line.strip():
            return line[: len(line) - len(line.lstrip(" \t"))]
    if 1 < region.start <= len(source.lines) + 1:
        above = source.lines[region.start - 2]
        if above.strip().startswith("#"):
            return above[: len(above) - len(above.lstrip(" \t"))]
    return ""


def _missing_imports(reply: Source, used: set[str], known: set[str]) -> list[str]:
    """Return the reply's imports that its code uses and that are not known, one name each."""
    missing: list[str] = []
    for node in _statements(reply.text):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for alias in node.names:
            bound = alias.asname or alias.name.split(".")[0]
            if bound in known or bound not in used or alias.name == "*":
                continue
            known.add(bound)
            renamed = f" as {alias.asname}" if alias.asname else ""
            if isinstance(node, ast.Import):
                missing.append(f"import {alias.name}{renamed}")
            elif node.module != "__future__":
                missing.append(f"from {'.' * node.level}{node.module or ''} import {alias.name}{renamed}")
    return missing


def _import_line(source: Source) -> int:
    """Return how many lines stand above the place for new imports: below the file's first imports or docstring."""
    at = 0
    for number, line in enumerate(source.lines[:2], 1):
        if line.startswith("#!") or re.match(r"#.*coding[:=]", line):
            at = number
    for statement in source.tree.children:
        if statement.type == "endmarker" or not hasattr(statement, "children"):
            break
        first = statement.get_first_leaf()
        if first.type == "string" and len(statement.children) <= 2:
            at = max(at, statement.get_last_leaf().end_pos[0] - (statement.end_pos[1] == 0))
        elif first.value in ("import", "from"):
            at = max(at, statement.get_last_leaf().start_pos[0])
        else:
            break
    return at


def _module_names(source: Source, without: Region | None = None) -> dict[str, None]:
    """Return the names that a text binds outside of any function or class, in its order, those of a region left out."""
    found = [
        name
        for names in source.tree.get_used_names().values()
        for name in names
        if name.is_definition()
        and _is_top_level(name)
        and not (without and without.start <= name.start_pos[0] <= without.end)
    ]
    return {str(name.value): None for name in sorted(found, key=lambda n: n.start_pos)}


def _is_top_level(name: Any) -> bool:
    node = name.parent
    if node.type in ("funcdef", "classdef"):
        node = node.parent  # the name of a definition belongs to the scope around it
    while node is not None:
        if node.type in ("funcdef", "classdef", "lambdef"):
            return False
        node = node.parent
    return True


def _names(code: str) -> set[str]:
    names: set[str] = set()
    try:
        for token in tokenize.generate_tokens(io.StringIO(_dedent(code)).readline):
            if token.type == tokenize.NAME:
                names.add(token.string)
            elif token.type == tokenize.STRING and token.string[:1] in "fF":
                names.update(_words(token.string))
    except (tokenize.TokenError, IndentationError, SyntaxError):
        names.update(_words(code))
    return names


def _words(text: str) -> Iterable[str]:
    word = ""
    for character in text + " ":
        if character.isidentifier() or (word and character.isalnum()):
            word += character
        elif word:
            yield word
            word = ""


def _dedent(code: str) -> str:
    """Remove the indentation of the first line of code from every line that has it."""
    lines = Source(code).lines
    first = next((line for line in lines if line.strip()), "")
    margin = first[: len(first) - len(first.lstrip(" \t"))]
    return "".join(line.removeprefix(margin) for line in lines) if margin else code


def _replace_indent(text: str, old: str, new: str) -> str:
    return "".join(new + line.removeprefix(old) for line in Source(text).lines)
