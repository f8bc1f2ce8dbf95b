"""Mutants of a Python text: one operator of one function changed. For the other scripts here."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from lsp_server.refine.source import Source

SWAPPED: dict[type[ast.AST], str] = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*",
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in", ast.And: "or", ast.Or: "and",
}  # fmt: skip
WRITTEN: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in", ast.And: "and", ast.Or: "or",
}  # fmt: skip


def mutations(text: str) -> Iterator[tuple[int, str]]:
    """Every text with one operator or constant in a function changed, with its line."""
    lines = text.splitlines(keepends=True)
    starts = [0]
    for each in lines:
        starts.append(starts[-1] + len(each.encode()))
    raw = text.encode()

    def between(left: ast.expr, right: ast.expr) -> tuple[int, int]:
        assert left.end_lineno is not None and left.end_col_offset is not None
        return (
            starts[left.end_lineno - 1] + left.end_col_offset,
            starts[right.lineno - 1] + right.col_offset,
        )

    source = Source(text)
    for node in ast.walk(ast.parse(text)):
        pairs: list[tuple[ast.AST, ast.expr, ast.expr]] = []
        if isinstance(node, ast.BinOp):
            pairs = [(node.op, node.left, node.right)]
        elif isinstance(node, ast.Compare):
            pairs = list(zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False))
        elif isinstance(node, ast.BoolOp):
            pairs = [(node.op, node.values[0], node.values[1])]
        for operator, left, right in pairs:
            if type(operator) not in SWAPPED:
                continue
            begin, end = between(left, right)
            written, swapped = WRITTEN[type(operator)].encode(), SWAPPED[type(operator)].encode()
            gap = raw[begin:end]
            if gap.count(written) != 1:
                continue
            mutated = (raw[:begin] + gap.replace(written, swapped) + raw[end:]).decode()
            definition = source.outermost_function(right.lineno)
            if definition is not None and right.lineno >= definition.body and _is_python(mutated):
                yield right.lineno, mutated


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True
