"""
Messages built from their pieces: text, HTML, AMP, parts that the HTML refers to, attachments, header fields.

What is the same for all recipients is made once, by Python's `email` with its modern policy; so are names and subjects that
are not ASCII.  Everything that goes out is ASCII: no relay needs to touch it, so signatures hold.
"""

import re
from base64 import b64decode, encodebytes
from binascii import Error as NotBase64
from binascii import b2a_qp
from collections.abc import Callable, Mapping, Sequence
from email import policy
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any

from kumotwist.injection.fields import address_field, correspondent, field, on_one_line
from kumotwist.injection.request import Attachment, BadRequest, Content, TemplateDialect, header_name
from kumotwist.injection.templates import Constant, Render, Templates

_POLICY = policy.SMTP.clone(cte_type="7bit")
_TYPE = re.compile(r"([A-Za-z0-9][\w!#$&^.+-]{0,126})/([A-Za-z0-9][\w!#$&^.+-]{0,126})\Z", re.ASCII)
_OURS = frozenset({"mime-version", "content-type", "content-transfer-encoding"})  # said by how the message is built
_BOUNDARY_BITS = 128
_LINE_END = re.compile(rb"\r\n|\r|\n")
_LONGEST_LINE = 990  # RFC 5322 section 2.1.1 allows 998


class Part:
    """One part: its own header and body.  fixed: the same for all; else it is made for each recipient."""

    def __init__(self, render: Render, subtype: str) -> None:
        self._render = render
        self._subtype = subtype
        self._fixed = self._made(render.text) if isinstance(render, Constant) else None

    def octets(self, values: Mapping[str, Any]) -> bytes:
        return self._made(self._render(values)) if self._fixed is None else self._fixed

    def _made(self, text: str) -> bytes:
        try:
            octets = _LINE_END.sub(b"\r\n", text.encode())
        except UnicodeEncodeError as fault:
            raise BadRequest(f"text that UTF-8 cannot have: {fault.reason}") from None
        if not octets.endswith(b"\r\n"):
            octets += b"\r\n"
        encoding, octets = _encoded(octets)
        return b'Content-Type: text/%b; charset="utf-8"\r\nContent-Transfer-Encoding: %b\r\n\r\n%b' % (
            self._subtype.encode(),
            encoding,
            octets,
        )


def _encoded(octets: bytes) -> tuple[bytes, bytes]:
    """
    A text with CRLF as it may go over any relay, and the name of the encoding: the shorter one, if it needs one.

    In C: the library's own way takes a millisecond for a page, and each recipient has a page.
    """
    if octets.isascii() and b"\0" not in octets and max(map(len, octets.split(b"\r\n"))) <= _LONGEST_LINE:
        return b"7bit", octets
    quoted = b2a_qp(octets, istext=True)
    if len(quoted) <= len(octets) * 4 // 3:
        return b"quoted-printable", quoted
    return b"base64", encodebytes(octets).replace(b"\n", b"\r\n")


class BuiltContent:
    """A `Content` made ready for its recipients."""

    def __init__(self, content: Content, dialect: TemplateDialect, templates: Templates, randbits: Callable[[int], int]) -> None:
        """randbits: for boundaries, which nobody can guess and so no content can have.  Raises BadRequest."""
        self._randbits = randbits
        self._fields, self._has_to, self._has_date = _fields(content, dialect, templates)
        self._parts = _alternatives(content, dialect, templates)
        inline = [_attached(one, n) for n, one in enumerate(content.attachments) if one.content_id is not None]
        other = [_attached(one, n) for n, one in enumerate(content.attachments) if one.content_id is None]
        # The inner multiparts' boundaries are made once: none of them can be known outside.
        self._inline, self._other = inline, other
        self._boundaries = [self._boundary() for _ in range(3)]

    def _boundary(self) -> bytes:
        return b"=-%032x" % self._randbits(_BOUNDARY_BITS)

    def message(self, email: str, name: str | None, values: Mapping[str, Any], now: float) -> bytes:
        """The message for one recipient.  Raises BadRequest."""
        lines = [field(header, render(values)) for header, render in self._fields]
        if not self._has_to:
            lines.append(address_field("To", email, name))
        if not self._has_date:
            lines.append(b"Date: " + formatdate(now).replace("-0000", "+0000").encode() + b"\r\n")
        lines.append(b"MIME-Version: 1.0\r\n")
        return b"".join(lines) + self._body(values)

    def _body(self, values: Mapping[str, Any]) -> bytes:
        alternatives = [part.octets(values) for part in self._parts]
        body = alternatives[0] if len(alternatives) == 1 else _multipart(b"alternative", self._boundaries[0], alternatives)
        if self._inline:
            kind = b'related; type="text/html"' if len(alternatives) == 1 else b'related; type="multipart/alternative"'
            body = _multipart(kind, self._boundaries[1], [body, *self._inline])
        if self._other:
            body = _multipart(b"mixed", self._boundaries[2], [body, *self._other])
        return body


def _multipart(kind: bytes, boundary: bytes, parts: Sequence[bytes]) -> bytes:
    inside = b"".join(b"--%b\r\n%b%b" % (boundary, part, b"" if part.endswith(b"\r\n") else b"\r\n") for part in parts)
    return b'Content-Type: multipart/%b;\r\n boundary="%b"\r\n\r\n%b--%b--\r\n' % (kind, boundary, inside, boundary)


def _without_version(part: bytes) -> bytes:
    """Only a whole message says its MIME-Version."""
    head, gap, rest = part.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"mime-version:")]
    return b"\r\n".join(lines) + gap + rest


def _fields(content: Content, dialect: TemplateDialect, templates: Templates) -> tuple[list[tuple[str, Render]], bool, bool]:
    """The header, sorted by name as the model does, and whether the request brings its own To and Date."""
    given = {header_name(name): value for name, value in content.headers.items() if name.lower() not in _OURS}
    said = {"From": content.from_, "Reply-To": content.reply_to}
    found = {name: correspondent(one.email, one.name, name) for name, one in said.items() if one is not None}
    if content.subject is not None:
        found["Subject"] = content.subject
    taken = {name.lower() for name in found}
    given = {name: value for name, value in given.items() if name.lower() not in taken} | found
    fields = [
        (name, templates.template(dialect, given[name], f"header {name}", header=True)) for name in sorted(given, key=str.lower)
    ]
    names = {name.lower() for name in given}
    return fields, "to" in names, "date" in names


def _alternatives(content: Content, dialect: TemplateDialect, templates: Templates) -> list[Part]:
    bodies = (
        ("text_body", content.text_body, "plain", False),
        ("amp_html_body", content.amp_html_body, "x-amp-html", True),
        ("html_body", content.html_body, "html", True),
    )
    if content.text_body is None and content.html_body is None:
        raise BadRequest("content must have at least one of text_body or html_body")
    return [
        Part(templates.template(dialect, source, what, html=html), subtype)
        for what, source, subtype, html in bodies
        if source is not None
    ]


def _attached(attachment: Attachment, number: int) -> bytes:
    """One attachment as a part.  Raises BadRequest."""
    where = f"attachments[{number}]"
    kind, semicolon, parameters = attachment.content_type.partition(";")
    found = _TYPE.match(kind.strip())
    if found is None or found[1].lower() == "multipart" or any(not c.isprintable() for c in attachment.content_type):
        raise BadRequest(f"{where}: content_type {attachment.content_type[:60]!r} is not a type such as image/png")
    part = EmailMessage(_POLICY)
    disposition = "attachment" if attachment.content_id is None else "inline"
    part.set_content(_octets(attachment, where), maintype=found[1], subtype=found[2], cte="base64", disposition=disposition)
    for key, value in _parameters(parameters) if semicolon else ():
        part.set_param(key, value)
    if found[1].lower() == "text" and not attachment.base64 and part.get_param("charset") is None:
        part.set_param("charset", "utf-8")
    if attachment.file_name:
        part.set_param("filename", on_one_line(attachment.file_name), header="Content-Disposition")
    if attachment.content_id is not None:
        part["Content-ID"] = f"<{_content_id(attachment.content_id, where)}>"
    try:
        return _without_version(part.as_bytes())
    except (ValueError, LookupError) as fault:
        raise BadRequest(f"{where}: {fault}") from None


def _parameters(text: str) -> list[tuple[str, str]]:
    pairs = (one.partition("=") for one in text.split(";") if one.strip())
    return [(key.strip(), value.strip().strip('"')) for key, _, value in pairs if re.fullmatch(r"[\w.-]+", key.strip(), re.ASCII)]


def _content_id(given: str, where: str) -> str:
    inside = given.strip().removeprefix("<").removesuffix(">")
    if not inside or len(inside) > 500 or not all("!" <= c <= "~" and c not in "<>" for c in inside):
        raise BadRequest(f"{where}: content_id {given[:60]!r} is none")
    return inside


def _octets(attachment: Attachment, where: str) -> bytes:
    try:
        if not attachment.base64:
            return attachment.data.encode()
        return b64decode("".join(attachment.data.split()), validate=True)
    except (NotBase64, ValueError) as fault:
        raise BadRequest(f"{where}: data is not base64: {fault}") from None
