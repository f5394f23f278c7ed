"""
What a check found, and the header field that tells it: Authentication-Results, written and read.

RFC 8601.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~/@:+=]+\Z")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\x80-\U0010ffff]")
_LINE = 75


class AuthenticationResult(Struct, frozen=True, kw_only=True):
    """One check of one method.  result: `pass`, `fail`, …  props: `header.d` → `example.com`."""

    method: str
    result: str
    method_version: int | None = None
    reason: str | None = None
    props: Mapping[str, str] = {}


class BadResults(ValueError):
    """Text that is no Authentication-Results."""


def format_results(server: str, results: Sequence[AuthenticationResult]) -> str:
    """The field's value, folded: who says it, then each result on a line of its own with its properties sorted by name."""
    parts = [_value(server)]
    for result in results:
        version = "" if result.method_version is None else f"/{result.method_version}"
        words = [f"{result.method}{version}={result.result}"]
        if result.reason:
            words.append(f"reason={_quoted(result.reason)}")
        words += [f"{name}={_value(value)}" for name, value in sorted(result.props.items())]
        parts.append(_folded(words))
    if not results:
        return f"{parts[0]}; none"
    return ";\r\n\t".join(parts)


def _folded(words: Sequence[str]) -> str:
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) < _LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\r\n\t ".join(lines)


def _value(text: str) -> str:
    return text if _TOKEN.match(text) else _quoted(text)


def _quoted(text: str) -> str:
    """What a stranger wrote may stand here: no line ends, no controls, quotes escaped."""
    tidy = _UNPRINTABLE.sub("?", text)[:400]
    return '"{}"'.format(tidy.replace("\\", "\\\\").replace('"', '\\"'))


_PART = re.compile(
    r"""\s*(?:
    (?P<comment>\()
    |"(?P<quoted>(?:[^"\\]|\\.)*)"
    |(?P<mark>[;=])
    |(?P<word>[^\s;="()]+)
    )""",
    re.VERBOSE | re.DOTALL,
)


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each token; comments are passed over."""
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            raise BadResults(f"nothing to be understood at {text[at : at + 20]!r}")
        if found["comment"]:
            at = _comment_end(text, found.end())
            continue
        at = found.end()
        if found["quoted"] is not None:
            yield "value", re.sub(r"\\(.)", r"\1", found["quoted"])
        elif found["mark"]:
            yield found["mark"], found["mark"]
        else:
            yield "value", found["word"]


def _comment_end(text: str, at: int) -> int:
    depth = 1
    while depth:
        if at >= len(text):
            raise BadResults("a comment without an end")
        if text[at] == "\\":
            at += 1
        elif text[at] == "(":
            depth += 1
        elif text[at] == ")":
            depth -= 1
        at += 1
    return at


def parse_results(text: str) -> tuple[str, tuple[AuthenticationResult, ...]]:
    """Who says it, and what.  text: the field's value, folded or not.  Raises BadResults."""
    groups: list[list[tuple[str, str]]] = [[]]
    for kind, value in _parts(text):
        if kind == ";":
            groups.append([])
        else:
            groups[-1].append((kind, value))
    if not groups[0] or groups[0][0][0] != "value":
        raise BadResults("nobody says it")
    found = [group for group in groups[1:] if group]
    if found == [[("value", "none")]]:
        return groups[0][0][1], ()
    return groups[0][0][1], tuple(map(_result, found))


def _result(tokens: Sequence[tuple[str, str]]) -> AuthenticationResult:
    """`method[/version]=result [reason=text] [name=value …]`."""
    pairs: list[tuple[str, str]] = []
    at = 0
    while at < len(tokens):
        if at + 2 >= len(tokens) or [kind for kind, _ in tokens[at : at + 3]] != ["value", "=", "value"]:
            raise BadResults(f"no result at {tokens[at][1][:40]!r}")
        name, value = tokens[at][1], tokens[at + 2][1]
        at += 3
        while at + 1 < len(tokens) and tokens[at][0] == "=":  # an unquoted value with = in it, as Base64 has
            value += "=" + tokens[at + 1][1]
            at += 2
        pairs.append((name, value))
    (method, result), *rest = pairs
    method, _, version = method.partition("/")
    props = {name.lower(): value for name, value in rest if name.lower() != "reason"}
    reason = next((value for name, value in rest if name.lower() == "reason"), None)
    return AuthenticationResult(
        method=method.lower(),
        result=result.lower(),
        method_version=int(version) if version.isdigit() else None,
        reason=reason,
        props=props,
    )
