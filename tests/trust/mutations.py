"""Small wrong changes of a module, one at a time: what a slip of the pen could have left there.

Left out is what no test could or should tell: docstrings and other text, type annotations, `__all__`, type aliases, sentences
of errors, `assert` (for our own mistakes) and the decorators of data classes; `device=` too, since tests have one device.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.BitXor: ast.BitAnd,
}
_PAIRS = "min max, minimum maximum, amin amax, argmin argmax, any all, floor ceil, zeros ones, sum mean, cos sin, log exp"
_NAMES = {a: b for pair in _PAIRS.split(", ") for a, b in (pair.split(), reversed(pair.split()))}
_SHORT = 60
"""A change of fewer letters is told with its line."""
_UNTOLD_KEYWORDS = ("device", "strict")


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change; the lines of the rest of the file stay where they are."""

    kind: str
    lines: tuple[int, int]
    """First and last line of what is replaced."""
    around: tuple[int, int]
    """First and last line of the function or class around it; the same again at module level."""
    in_body: bool
    """Whether it is run with a function, and not as the module is imported (constants, defaults, fields)."""
    function: str
    """Qualified name of the function or class around it; "" at module level."""
    change: str
    """What stood there and what stands there now, and which one where a function has several."""
    start: int
    stop: int
    """Place of what is replaced, in bytes of the file."""
    text: str

    def applied(self, source: str) -> str:
        """The source with the change."""
        raw = source.encode()
        return (raw[: self.start] + self.text.encode() + raw[self.stop :]).decode()


def mutations(source: str) -> list[Mutation]:
    """Every change of a module that there is here, in the order of its lines."""
    raw = source.encode()
    starts = [0]
    for line in raw.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found, seen = [], dict[tuple[str, str], int]()
    for place, (node, kind, new) in _changes(ast.parse(source), _Place()):
        lines = _lines(node)
        start = starts[lines[0] - 1] + node.col_offset
        stop = starts[lines[1] - 1] + (node.end_col_offset or 0)
        lost = "\n" * raw[start:stop].count(b"\n")
        text = f"({new}{lost})" if isinstance(node, ast.expr) else f"{new}{lost}"
        change = f"{_line(raw[start:stop].decode())} -> {_line(new)}"
        if len(change) < _SHORT:
            change = f"{change} in {_line(raw[starts[lines[0] - 1] : starts[lines[0]]].decode())}"
        seen[place.function, change] = number = seen.get((place.function, change), 0) + 1
        change += f" ({number})" if number > 1 else ""
        around = _lines(place.around) if place.around else lines
        found.append(Mutation(kind, lines, around, place.in_body, place.function, change, start, stop, text))
    return found


def _lines(node: ast.AST) -> tuple[int, int]:
    assert isinstance(node, ast.expr | ast.stmt)
    return node.lineno, node.end_lineno or node.lineno


def _line(text: str) -> str:
    return " ".join(text.split())


Change = tuple[ast.expr | ast.stmt, str, str]
"""What is replaced, kind, by what."""


@dataclass(frozen=True, slots=True)
class _Place:
    function: str = ""
    in_body: bool = False
    around: ast.AST | None = None


def _changes(node: ast.AST, place: _Place) -> Iterator[tuple[_Place, Change]]:
    """The changes of a node's parts, and of theirs."""
    for child in _mutable_parts(node):
        within = place
        if isinstance(node, ast.FunctionDef):
            within = replace(place, in_body=child in node.body)
        if isinstance(child, ast.expr | ast.stmt):
            yield from ((within, (child, kind, new)) for kind, new in _of(child))
        if isinstance(child, ast.If | ast.While | ast.IfExp) and not _is_negated_elsewhere(child.test):
            yield within, (child.test, "condition", ast.unparse(ast.UnaryOp(ast.Not(), child.test)))
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            name = f"{place.function}.{child.name}" if place.function else child.name
            within = replace(within, function=name, around=child)
        yield from _changes(child, within)


def _mutable_parts(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.JoinedStr() | ast.Assert() | ast.Raise() | ast.Import() | ast.ImportFrom():
            return
        case ast.FunctionDef():
            yield from (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body)
        case ast.ClassDef():
            yield from node.body
        case ast.AnnAssign():
            yield from filter(None, [node.value])
        case ast.Module():
            yield from (part for part in node.body if not _is_names_or_types(part))
        case ast.keyword():
            yield from () if node.arg in _UNTOLD_KEYWORDS else (node.value,)
        case _:
            yield from ast.iter_child_nodes(node)


def _is_names_or_types(node: ast.stmt) -> bool:
    """`__all__`, and aliases such as Logits = Float[Tensor, "batch classes"]."""
    match node:
        case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.Assign(value=ast.Subscript() | ast.BinOp(op=ast.BitOr())):
            return True
    return False


def _of(node: ast.expr | ast.stmt) -> Iterator[tuple[str, str]]:
    """(kind, new text) of the changes that replace a node as a whole."""
    return _of_statement(node) if isinstance(node, ast.stmt) else _of_expression(node)


def _of_expression(node: ast.expr) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                operators = [*node.ops[:place], _COMPARISONS[type(operator)](), *node.ops[place + 1 :]]
                yield "comparison", ast.unparse(ast.Compare(node.left, operators, node.comparators))
        case ast.BinOp() if type(node.op) in _OPERATORS and not (_is_text(node.left) or _is_text(node.right)):
            yield "arithmetic", ast.unparse(ast.BinOp(node.left, _OPERATORS[type(node.op)](), node.right))
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "and, or", ast.unparse(ast.BoolOp(other, node.values))
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield "sign or not", ast.unparse(node.operand)
        case ast.Constant():
            yield from (("constant", text) for text in _other_constants(node.value))
        case ast.Call():
            yield from _other_calls(node)


def _of_statement(node: ast.stmt) -> Iterator[tuple[str, str]]:
    match node:
        case ast.AugAssign() if type(node.op) in _OPERATORS:
            yield "arithmetic", ast.unparse(ast.AugAssign(node.target, _OPERATORS[type(node.op)](), node.value))
        case ast.Return(value=ast.expr()) if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield "return", "return None"
        case ast.Raise() | ast.Expr(value=ast.Call()) | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "statement left out", "pass"


def _other_constants(value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield str(not value)
    elif isinstance(value, int):
        yield from (str(value + 1), f"-{value}") if value else ("1", "-1")
    elif isinstance(value, float):
        yield from (f"{1.5 * value:.6g}", f"-{value!r}") if value else ("0.5",)


def _other_calls(node: ast.Call) -> Iterator[tuple[str, str]]:
    """The opposite function, and calls with a keyword left out."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
    if other := _NAMES.get(name):
        called = ast.Attribute(node.func.value, other) if isinstance(node.func, ast.Attribute) else ast.Name(other)
        yield "function", ast.unparse(ast.Call(called, node.args, node.keywords))
    for place, keyword in enumerate(node.keywords):
        if keyword.arg is not None and keyword.arg not in _UNTOLD_KEYWORDS:
            fewer = [*node.keywords[:place], *node.keywords[place + 1 :]]
            yield "keyword left out", ast.unparse(ast.Call(node.func, node.args, fewer))


def _is_negated_elsewhere(test: ast.expr) -> bool:
    """Whether the change of its operator is the opposite already."""
    opposites = ast.Eq | ast.NotEq | ast.Is | ast.IsNot | ast.In | ast.NotIn
    return isinstance(test, ast.UnaryOp) or (isinstance(test, ast.Compare) and isinstance(test.ops[0], opposites))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
