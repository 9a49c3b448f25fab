"""The typed `parameters` cell of a notebook: read without running it, and the check of values against it."""

from __future__ import annotations

import ast
import io
import itertools
import math
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from workbench.types import check_choice

if TYPE_CHECKING:
    from nbformat import NotebookNode

Value = int | float | str | bool | None  # what a parameter may hold
KINDS: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
ALLOWED = "int, float, str, bool, Literal[...], Optional[...] or ... | None"


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: `sparsity: float = 0.9  # fraction removed`.

    `kind` is int, float, str, bool, or None for a Literal, whose values are in `choices`.
    """

    name: str
    kind: type | None
    choices: tuple[Value, ...]
    optional: bool
    default: Value
    help: str

    @property
    def allowed(self) -> str:
        """The values it takes, in words.

        >>> Parameter("profile", None, ("smoke", "full"), True, "full", "").allowed
        "one of 'smoke', 'full' or None"
        """
        words: dict[type | None, str] = {bool: "true or false", None: f"one of {', '.join(map(repr, self.choices))}"}
        one = words.get(self.kind) or cast(type, self.kind).__name__
        return f"{one} or None" if self.optional else one


def read_parameters(notebook: NotebookNode, where: str) -> dict[str, Parameter]:
    """The parameters of a notebook by name, in order; empty where no cell carries the tag `parameters`.

    The cell is parsed, never run; comments on a line, or right above it, are the parameter's help. A ValueError, with
    the notebook's name `where`, names the first line that is not a typed parameter with a literal default. It misleads
    where the cell computes values: only what is written in it is seen.
    """
    tagged = [cell for cell in notebook.cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if [cell.cell_type for cell in tagged] not in ([], ["code"]):
        kinds = ", ".join(cell.cell_type for cell in tagged)
        raise ValueError(
            f"{where}: one code cell carries the tag 'parameters'; got {len(tagged)} cells ({kinds}). "
            "Given values are set after the first one: move all parameters into it and remove the other tags"
        )
    source = tagged[0].source if tagged else ""
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise ValueError(f"{where}: the parameters cell is not Python: {error.msg}, line {error.lineno}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{where}: the parameters cell cannot be read: {error}") from None
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom) or (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        ):
            continue
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
            raise ValueError(
                f"{where}: a line of the parameters cell is 'name: type = default', with type {ALLOWED}; "
                f"got {ast.unparse(statement)!r:.100}"
            )
        name = statement.target.id
        found[name] = _parameter(name, statement, where, _help(comments, statement))
    return found


def check_values(parameters: Mapping[str, Parameter], given: Mapping[str, object], where: str) -> dict[str, Value]:
    """The given values in their declared types; text, as it comes from a command line, is converted.

    An unknown name is a ValueError with the nearest and all names, another value one with what is allowed. A float
    takes an int; an optional parameter takes the text `none` as None.

    >>> rate = Parameter("rate", float, (), False, 0.1, "")
    >>> check_values({"rate": rate}, {"rate": "1e-3"}, "lesson.ipynb")
    {'rate': 0.001}
    """
    if given and not parameters:
        raise ValueError(
            f"{where} has no cell tagged 'parameters', so it takes none; got {', '.join(sorted(given))}. "
            "Tag the cell that holds them, or leave -p and --profile out"
        )
    values = {}
    for name, value in given.items():
        parameter = parameters[check_choice(f"{where}: a parameter", name, parameters)]
        try:
            values[name] = _value(parameter, value)
        except (ValueError, OverflowError):
            raise ValueError(f"{where}: parameter {name} is {parameter.allowed}; got {value!r:.100}") from None
    return values


def _parameter(name: str, statement: ast.AnnAssign, where: str, text: str) -> Parameter:
    """The Parameter that one annotated assignment declares; its default is checked too."""
    default = statement.value
    try:
        declared = Parameter(name, *_type(statement.annotation), None, text)
    except ValueError:
        got = ast.unparse(statement.annotation)
        raise ValueError(f"{where}: parameter {name} has a type of {ALLOWED}; got {got}") from None
    try:
        value = ast.literal_eval(default) if default is not None else None
        if isinstance(value, str) and declared.kind is not str and value not in declared.choices:
            raise ValueError
        value = _value(declared, value)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        got = ast.unparse(default) if default is not None else "nothing"
        raise ValueError(f"{where}: parameter {name} is {declared.allowed}; its default is {got:.100}") from None
    return replace(declared, default=value)


def _type(node: ast.expr) -> tuple[type | None, tuple[Value, ...], bool]:
    """(kind, choices, optional) of an annotation; ValueError for any other annotation."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = [side for side in (node.left, node.right) if ast.unparse(side) != "None"]
        if len(sides) != 1:
            raise ValueError
        return (*_type(sides[0])[:2], True)
    if isinstance(node, ast.Subscript):
        head = ast.unparse(node.value).removeprefix("typing.")
        if head == "Optional":
            return (*_type(node.slice)[:2], True)
        if head == "Literal":
            items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            values = tuple(ast.literal_eval(item) for item in items)
            return None, tuple(value for value in values if value is not None), None in values
    if isinstance(node, ast.Name) and node.id in KINDS:
        return KINDS[node.id], (), False
    raise ValueError


def _value(parameter: Parameter, value: object) -> Value:
    """`value` in the parameter's type; ValueError where it does not fit."""
    kind = parameter.kind
    if parameter.optional and (value is None or (isinstance(value, str) and value.lower() == "none")):
        return None
    if kind is None:
        for choice in parameter.choices:
            if value == str(choice) or (value == choice and type(value) is type(choice)):
                return choice
        raise ValueError
    if isinstance(value, str) and kind is bool:
        value = {"true": True, "false": False}.get(value.lower())
    elif (isinstance(value, str) and kind is not str) or (type(value) is int and kind is float):
        value = kind(value)
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise ValueError
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    return cast(Value, value)


def _comments(source: str) -> dict[int, tuple[str, bool]]:
    """Line number -> (comment text, whether the line holds nothing else)."""
    return {
        token.start[0]: (token.string.lstrip("#").strip(), token.line.lstrip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }


def _help(comments: Mapping[int, tuple[str, bool]], statement: ast.stmt) -> str:
    """The comments in a statement's lines, else the comment lines right above it."""
    lines = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    inside = [comments[line][0] for line in lines if line in comments]
    above = itertools.takewhile(lambda line: comments.get(line, ("", False))[1], itertools.count(lines[0] - 1, -1))
    return " ".join(inside or [comments[line][0] for line in above][::-1])


def table(parameters: Sequence[Parameter]) -> str:
    """Aligned text: name, what it takes, default, help.

    >>> print(table([Parameter("seed", int, (), False, 0, "of the shuffle")]))
    seed  int  0  of the shuffle
    """
    return aligned([(p.name, p.allowed, repr(p.default), p.help) for p in parameters])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Lines of text, their columns as wide as the widest cell.

    >>> print(aligned([("a", "1"), ("seed", "2")]))
    a     1
    seed  2
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
