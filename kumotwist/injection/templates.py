"""
Templates and their dialects: a text with gaps, filled for each recipient.

Jinja: Jinja2 in a sandbox, bounded (`sandbox`).  Static: nothing is filled in.  Handlebars, which the model has too, is
refused by name: what would come out otherwise than its author meant must not be sent.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import TemplateError

from kumotwist.injection.request import BadRequest, TemplateDialect
from kumotwist.injection.sandbox import BUDGET, BoundedEnvironment, Budget, kept

Render = Callable[[Mapping[str, Any]], str]  # raises BadRequest where it cannot be filled


class Templates:
    """Makes templates.  seconds: epoch time, for `now()` and for limits; called in threads."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        names = {"now": lambda: datetime.fromtimestamp(seconds(), UTC)}
        plain = BoundedEnvironment(autoescape=False, names=names, filters=FILTERS)
        escaping = BoundedEnvironment(autoescape=True, names=names, filters=FILTERS)
        self._plain, self._escaping = kept(plain.bounded), kept(escaping.bounded)

    def template(self, dialect: TemplateDialect, source: str, what: str, *, html: bool = False, header: bool = False) -> Render:
        """
        what: how messages to the client call it.  html: values are escaped.  header: values cannot end a line.

        Raises BadRequest: it is no template.
        """
        if dialect is TemplateDialect.HANDLEBARS:
            raise BadRequest("template_dialect: Handlebars is not implemented, expected Jinja or Static")
        if dialect is TemplateDialect.STATIC or not any(mark in source for mark in ("{{", "{%", "{#")):
            return Constant(source)
        compiled = self._compile(source, what, html)

        def render(values: Mapping[str, Any]) -> str:
            with _Rendering(what, Budget(self._seconds, header)):
                return compiled.render(values)  # type: ignore[no-any-return]  # a text it is

        return render

    def message(self, dialect: TemplateDialect, source: str) -> Render:
        """A whole message as one template: in its header, values cannot end a line."""
        found = self.template(dialect, source, "content")
        if isinstance(found, Constant):
            return found
        compiled = self._compile(source, "content", False)

        def render(values: Mapping[str, Any]) -> str:
            budget = Budget(self._seconds, header=True)
            written: list[str] = []
            with _Rendering("content", budget):
                last = ""
                for text in compiled.generate(values):
                    written.append(text)
                    if budget.header:
                        last = last[-3:] + text
                        budget.header = "\n\n" not in last.replace("\r\n", "\n")
            return "".join(written)

        return render

    def _compile(self, source: str, what: str, html: bool) -> Any:
        try:
            return (self._escaping if html else self._plain)(source)
        except TemplateError as fault:
            line = getattr(fault, "lineno", None)
            raise BadRequest(f"{what}: {'line ' + str(line) + ': ' if line else ''}{str(fault)[:200]}") from None


class Constant:
    """A template without gaps.  text: what it always is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self, values: Mapping[str, Any]) -> str:
        return self.text


class _Rendering:
    """Around one rendering: its budget, and what goes wrong as a message to the client."""

    def __init__(self, what: str, budget: Budget) -> None:
        self._what = what
        self._budget = budget

    def __enter__(self) -> None:
        self._token = BUDGET.set(self._budget)

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: object) -> None:
        BUDGET.reset(self._token)
        if isinstance(fault, Exception):
            # Templates are strangers' programs: whatever goes wrong in one is its own fault, and is told to its author.
            raise BadRequest(f"{self._what}: {str(fault)[:200] or type(fault).__name__}") from None


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    return datetime.fromisoformat(str(value))


_DATES = {"short": "%Y-%m-%d", "medium": "%b %d %Y", "long": "%B %d %Y", "full": "%A, %B %d %Y", "iso": "%Y-%m-%d"}
_TIMES = {"short": "%H:%M", "medium": "%H:%M", "long": "%H:%M:%S", "full": "%H:%M:%S.%f", "iso": "%H:%M:%S%z"}


def _date(value: Any, format: str = "medium") -> str:
    return _moment(value).strftime(_DATES.get(format, format))


def _time(value: Any, format: str = "medium") -> str:
    return _moment(value).strftime(_TIMES.get(format, format))


def _date_time(value: Any, format: str = "medium") -> str:
    if format == "iso":
        return _moment(value).isoformat()
    if format in _DATES:
        return f"{_date(value, format)} {_time(value, format)}"
    return _moment(value).strftime(format)


def _pluralize(value: Any, singular: str = "", plural: str = "s") -> str:
    """`{{ n }} item{{ n|pluralize }}`."""
    count = value if isinstance(value, int | float) else len(value)
    return singular if count == 1 else plural


FILTERS: Mapping[str, Callable[..., Any]] = {
    "dateformat": _date,
    "timeformat": _time,
    "datetimeformat": _date_time,
    "pluralize": _pluralize,
}
