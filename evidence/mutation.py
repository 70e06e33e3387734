"""Small faults in Python source, one at a time: the mutants of `python -m evidence.mutants`.

A mutant changes one expression: a comparison, an operator, a constant by one, a negation, a returned value, a keyword
argument. Docstrings, annotations, imports, decorators, error messages and logging are left alone.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPARED: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
COMPUTED: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NEGATED: dict[type, type] = {ast.And: ast.Or, ast.Or: ast.And}
NOTHING = "nothing"
SAYING = {"logger", "log", "warnings", "print", "progress"}  # calls on these only report


@dataclass(frozen=True)
class Mutant:
    """One change of one file. ``lines``: a test must run them to notice it."""

    path: str
    line: int
    function: str
    kind: str
    before: str
    after: str
    start: int
    end: int
    lines: tuple[int, ...]

    def applied(self, source: bytes) -> bytes:
        """The source with the change."""
        changed = f"({self.after})" if self.kind != NOTHING else ""
        return source[: self.start] + changed.encode() + source[self.end :]


def mutants_of(root: Path, paths: Iterable[str]) -> list[Mutant]:
    """Every mutant of the files, in order of file and position."""
    found: list[Mutant] = []
    for path in sorted(paths):
        source = (root / path).read_bytes()
        found += _Finder(path, source).found()
    return found


def nothing(root: Path, path: str) -> Mutant:
    """A mutant without a change. It must survive, or the mechanism is broken."""
    source = (root / path).read_bytes()
    lines = tuple(range(1, source.count(b"\n") + 2))
    return Mutant(path, 1, "", NOTHING, "", "", len(source), len(source), lines)


def sampled(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """A random sample of ``count``, the same for the same seed and source."""
    return random.Random(seed).sample(mutants, min(count, len(mutants)))


class _Finder:
    def __init__(self, path: str, source: bytes) -> None:
        self.path, self.source = path, source
        self.tree = ast.parse(source)
        lengths = [len(line) for line in source.splitlines(keepends=True)]
        self.starts = [0]
        for length in lengths:
            self.starts.append(self.starts[-1] + length)

    def found(self) -> list[Mutant]:
        return list(self._of(self.tree, "", None))

    def _of(self, node: ast.AST, function: str, stmt: ast.stmt | None) -> Iterator[Mutant]:
        """Mutants of a node and its children."""
        if _left_alone(node):
            return
        if isinstance(node, ast.stmt):
            stmt = node
        if stmt is not None:
            for kind, target, after in _changes(node):
                yield self._mutant(kind, target, after, function, stmt)
        for name, child in _children(node):
            inner = function
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inner = f"{function}.{child.name}".lstrip(".")
            if name == "annotation" or name == "returns" or name == "decorator_list":
                continue
            yield from self._of(child, inner, stmt)

    def _mutant(self, kind: str, target: ast.AST, after: str, function: str, stmt: ast.stmt) -> Mutant:
        start, end = self._place(target)
        before = self.source[start:end].decode()
        line = int(getattr(target, "lineno", stmt.lineno))
        return Mutant(self.path, line, function, kind, before, after, start, end, self._lines(stmt))

    def _place(self, node: Any) -> tuple[int, int]:
        return (
            self.starts[node.lineno - 1] + node.col_offset,
            self.starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def _lines(self, stmt: ast.stmt) -> tuple[int, ...]:
        """The lines of the function or class around a statement; for module-level code, the lines that use it."""
        outer: Any = stmt if isinstance(stmt, ast.FunctionDef) else self._enclosing(stmt)
        if outer is not None:
            return tuple(range(outer.lineno, outer.end_lineno + 1))
        names = {node.id for node in ast.walk(stmt) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        uses = {
            node.lineno
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names
        }
        return tuple(sorted(uses)) or tuple(range(1, len(self.starts)))

    def _enclosing(self, stmt: ast.stmt) -> ast.AST | None:
        best: ast.AST | None = None
        for node in ast.walk(self.tree):
            if (
                isinstance(node, ast.FunctionDef | ast.ClassDef)
                and node is not stmt
                and node.lineno <= stmt.lineno
                and (node.end_lineno or 0) >= (stmt.end_lineno or 0)
                and (best is None or node.lineno >= best.lineno)  # type: ignore[attr-defined]
            ):
                best = node
        return best


def _children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield name, child


def _left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Raise | ast.JoinedStr | ast.Assert | ast.Global):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    if isinstance(node, ast.Call):
        head: ast.AST = node.func
        while isinstance(head, ast.Attribute):
            head = head.value
        return isinstance(head, ast.Name) and head.id in SAYING
    return False


def _text(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node))


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST, str]]:
    """(kind, the replaced node, its new text)."""
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            for other in COMPARED[type(op)]:
                ops = [*node.ops[:i], other(), *node.ops[i + 1 :]]
                yield "comparison", node, _text(ast.Compare(node.left, ops, node.comparators))
    elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED:
        if not _of_text(node):
            yield "arithmetic", node, _text(ast.BinOp(node.left, COMPUTED[type(node.op)](), node.right))
    elif isinstance(node, ast.UnaryOp):
        yield "sign or not", node, _text(node.operand)
    elif isinstance(node, ast.BoolOp):
        yield "and, or", node, _text(ast.BoolOp(NEGATED[type(node.op)](), node.values))
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield "constant", node, str(not node.value)
        elif isinstance(node.value, int | float):
            yield "constant", node, repr(node.value + 1)
            yield "constant", node, repr(node.value - 1)
    elif isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield "return", node.value, "None"
    elif isinstance(node, ast.Call):
        for i, keyword in enumerate(node.keywords):
            if keyword.arg is not None:
                kept = [*node.keywords[:i], *node.keywords[i + 1 :]]
                yield f"keyword {keyword.arg} dropped", node, _text(ast.Call(node.func, node.args, kept))
    elif isinstance(node, ast.If | ast.IfExp | ast.While) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield "condition", node.test, f"not ({_text(node.test)})"  # the other tests have changes that negate them


def _of_text(node: ast.BinOp) -> bool:
    """Whether an operator joins text or types, and computes nothing."""
    parts = (node.left, node.right)
    return any(
        isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in parts
    ) or any(isinstance(part, ast.BinOp) and _of_text(part) for part in parts)
