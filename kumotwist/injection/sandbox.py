"""
Jinja2 for strangers: what a template can do is bounded in steps, in time and in octets.

The values are JSON, so there is nothing to reach for; Jinja2's sandbox keeps it so.  What is left is a template that never
ends or fills the memory, by loops in loops, by doubling a text, by a width of a billion.  So a template is changed before it
is compiled: each loop counts its turns, each call of a macro, function or filter counts, each text that is made is measured,
and all of it is charged to the `Budget` of the one rendering.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import Any, cast

from jinja2 import Template, TemplateError, nodes, pass_eval_context
from jinja2.filters import do_join
from jinja2.runtime import Undefined, markup_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MOST_STEPS = 200_000  # turns of loops, and calls, in one rendering
MOST_SECONDS = 1.0  # for one rendering
MOST_OCTETS = 20 * 1024 * 1024  # characters that a rendering may put out
MOST_TEXT = 8 * 1024 * 1024  # characters of one text on the way
MOST_ITEMS = 100_000  # of a list on the way
MOST_BITS = 8192  # of a number
MOST_TAGS = 5_000  # of a template: compiling so many takes tenths of a second
WIDEST = 10_000  # columns and the like that a filter is asked for
WIDEST_INDENT = 200
_LONGEST_KEPT = 64 * 1024  # characters of a template that is kept compiled for the next request
_LINE_BREAKS = re.compile(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
_WIDE = re.compile(r"[0-9]{5,}|\*|\{[^{}]*\{")  # also widths that are given by an argument
_ANY_NUMBER = frozenset({"default", "d", "int", "float", "sum", "_counted", "_charge"})  # a large argument does no harm there
_NOT_FOR_STRANGERS = ("random", "pprint")


class TooMuch(TemplateError):
    """A template that asks for more than it may have."""


class Budget:
    """What one rendering has left.  header: what comes next lies in a message's header, where a value cannot end a line."""

    __slots__ = ("_deadline", "_seconds", "header", "octets", "steps")

    def __init__(self, seconds: Callable[[], float], header: bool = False) -> None:
        self._seconds = seconds
        self._deadline = seconds() + MOST_SECONDS
        self.steps = MOST_STEPS
        self.octets = MOST_OCTETS
        self.header = header

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise TooMuch(f"more than {MOST_STEPS} steps")
        if self._seconds() > self._deadline:
            raise TooMuch(f"longer than {MOST_SECONDS:g} s")

    def charge(self, characters: int) -> None:
        self.octets -= characters
        if self.octets < 0:
            raise TooMuch(f"more than {MOST_OCTETS} characters")


BUDGET: ContextVar[Budget] = ContextVar("kumotwist template budget")


def measured(value: Any) -> Any:
    """The value, if its text is of bearable length."""
    if isinstance(value, str):
        if len(value) > MOST_TEXT:
            raise TooMuch(f"a text of more than {MOST_TEXT} characters")
    elif isinstance(value, list | tuple | Mapping):
        _extent(value, [MOST_ITEMS, MOST_TEXT])
    return value


def _extent(value: Any, left: list[int]) -> None:
    """Count what a text of the value would hold; shared parts count each time, as they would be written each time."""
    left[0] -= 1
    if isinstance(value, str):
        left[1] -= len(value)
    if left[0] < 0 or left[1] < 0:
        raise TooMuch("a list or mapping that is too large")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _extent(key, left)
            _extent(inner, left)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            _extent(inner, left)


def _in_place(value: Any) -> Any:
    """What stands where `{{ value }}` does: nothing for null, and on one line in a header."""
    budget = BUDGET.get()
    budget.step()
    if value is None or isinstance(value, Undefined):
        return "" if value is None else value
    text = measured(value) if isinstance(value, str) else str(measured(value))
    if budget.header:
        text = type(text)(_LINE_BREAKS.sub(" ", text))
    budget.charge(len(text))
    return text


def _counted(items: Iterable[Any], literal: int) -> Iterator[Any]:
    """The items of a loop.  literal: characters that stand in its body."""
    budget = BUDGET.get()
    for item in items:
        budget.step()
        budget.charge(literal)
        yield item


def _charge(nothing: str, literal: int) -> str:
    """At the begin of a macro's body."""
    budget = BUDGET.get()
    budget.step()
    budget.charge(literal)
    return nothing


def _concat(first: Any, *more: Any) -> str:
    """`a ~ b`."""
    BUDGET.get().step()
    joined: str = measured(markup_join([measured(one) for one in (first, *more)]))
    return joined


@pass_eval_context
def _join(context: Any, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    budget = BUDGET.get()
    left = MOST_TEXT
    items = []
    for item in value:
        budget.step()
        left -= len(str(measured(item))) + len(d)
        if left < 0:
            raise TooMuch(f"a text of more than {MOST_TEXT} characters")
        items.append(item)
    joined: str = do_join(context, items, d, attribute)
    return joined


def _check_arguments(name: str, arguments: Iterable[Any]) -> None:
    widest = WIDEST_INDENT if name == "indent" else WIDEST
    for one in arguments:
        measured(one)
        if isinstance(one, int) and abs(one) > widest and name not in _ANY_NUMBER:
            raise TooMuch(f"{name} with {one if abs(one) < 10**20 else 'a number beyond measure'}")


def _check_replacement(text: Any, arguments: tuple[Any, ...]) -> None:
    if len(arguments) >= 2:
        old, new = len(str(arguments[0])), len(str(arguments[1]))
        if (len(str(text)) // max(1, old) + 1) * new > MOST_TEXT:
            raise TooMuch(f"a text of more than {MOST_TEXT} characters")


def _check_widths(text: Any) -> None:
    if _WIDE.search(str(text)):
        raise TooMuch("a format with such a width")


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that counts, and measures what goes in and what comes out."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def guarded(*arguments: Any, **named: Any) -> Any:
        BUDGET.get().step()
        value = arguments[first] if len(arguments) > first else None
        measured(value)
        _check_arguments(name, (*arguments[first + 1 :], *named.values()))
        if name == "replace":
            _check_replacement(value, arguments[first + 1 :])
        if name == "format":
            _check_widths(value)
        return measured(function(*arguments, **named))

    return guarded


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Compiles templates whose renderings stay within their Budget."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self, *, autoescape: bool, names: Mapping[str, Any], filters: Mapping[str, Callable[..., Any]]) -> None:
        """names, filters: what templates know beside Jinja's own."""
        super().__init__(autoescape=autoescape, finalize=_in_place, keep_trailing_newline=True, cache_size=0)
        del self.globals["lipsum"]
        for name in _NOT_FOR_STRANGERS:
            del self.filters[name]
        self.filters.update(filters)
        self.filters["join"] = _join
        self.filters = {name: _guarded(name, function) for name, function in self.filters.items()}
        self.filters.update(_counted=_counted, _charge=_charge, _concat=_concat)
        self.globals.update(names)

    def bounded(self, source: str) -> Template:
        """Compile.  Raises TemplateError."""
        if source.count("{{") + source.count("{%") > MOST_TAGS:
            raise TooMuch(f"more than {MOST_TAGS} tags")
        try:
            tree = _Bounds().visit(self.parse(source))
            code = self.compile(tree)
        except (RecursionError, SyntaxError, MemoryError, OverflowError, ValueError) as fault:
            raise TooMuch(f"too intricate: {type(fault).__name__}") from None
        return Template.from_code(self, code, dict(self.globals))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator in ("*", "**") and isinstance(left, int | float) and isinstance(right, int | float):
            _check_number(operator, left, right)
        elif operator == "*":
            many, times = (right, left) if isinstance(left, int) else (left, right)
            if isinstance(times, int) and hasattr(many, "__len__") and len(many) * times > MOST_ITEMS:
                raise TooMuch("a repetition that is too long")
        elif operator == "%" and isinstance(left, str):
            _check_widths(left)
        return measured(super().call_binop(context, operator, left, right))

    def call(self, context: Any, obj: Any, *arguments: Any, **named: Any) -> Any:
        BUDGET.get().step()
        of = getattr(obj, "__self__", None)
        if isinstance(of, str):
            name = getattr(obj, "__name__", "")
            _check_arguments(name, (*arguments, *named.values()))
            if name == "replace":
                _check_replacement(of, arguments)
            elif name == "join" and arguments:
                return _join(context.eval_ctx, arguments[0], of)
        return measured(super().call(context, obj, *arguments, **named))

    def wrap_str_format(self, value: Any) -> Any:
        """`"...".format`, which the sandbox takes from its text."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def guarded(*arguments: Any, **named: Any) -> Any:
            _check_widths(value.__self__)
            return measured(wrapped(*arguments, **named))

        return guarded


def _check_number(operator: str, left: float, right: float) -> None:
    if isinstance(left, float) or isinstance(right, float):
        return  # of one size whatever it is
    bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
    if bits > MOST_BITS:
        raise TooMuch("a number that is too large")


class _Bounds(NodeTransformer):
    """Puts the counting into a template's tree."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        literal = _literal(node)
        node = self.generic_visit(node)  # type: ignore[assignment]  # it stays what it is
        node.iter = _filter(node.iter, "_counted", nodes.Const(literal), node.lineno)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:
        literal = _literal(node)
        node = self.generic_visit(node)  # type: ignore[assignment]  # it stays what it is
        charge = _filter(nodes.Const(""), "_charge", nodes.Const(literal), node.lineno)
        node.body.insert(0, nodes.Output([charge], lineno=node.lineno))
        return node

    visit_CallBlock = visit_Macro  # noqa: N815  Jinja2 looks for it

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:
        node = self.generic_visit(node)  # type: ignore[assignment]  # it stays what it is
        first, *more = node.nodes
        return nodes.Filter(first, "_concat", more, [], None, None, lineno=node.lineno)


def _filter(value: nodes.Node, name: str, argument: nodes.Expr, line: int) -> nodes.Filter:
    return nodes.Filter(cast(nodes.Expr, value), name, [argument], [], None, None, lineno=line)


def _literal(node: nodes.Node) -> int:
    """Characters that stand in a body as they are."""
    return sum(len(found.data) for found in node.find_all(nodes.TemplateData))


def kept(compile_template: Callable[[str], Template]) -> Callable[[str], Template]:
    """The same, with short templates kept for the next request that has them."""
    remembered = lru_cache(maxsize=256)(compile_template)
    return lambda source: remembered(source) if len(source) <= _LONGEST_KEPT else compile_template(source)
