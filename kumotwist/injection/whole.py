"""
Messages that the client wrote itself, header and all, with gaps.

What is a message already keeps every byte but its line ends.  What is not plain ASCII in bearable lines is encoded anew by
Python's `email`: names and subjects as encoded words, bodies in UTF-8, so that every relay takes it.
"""

import re
from collections.abc import Mapping
from email import policy
from email.encoders import encode_base64
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any, cast

from kumotwist.injection.fields import field
from kumotwist.injection.request import BadRequest, TemplateDialect
from kumotwist.injection.templates import Templates
from kumotwist.mail.headers import Wanted, header_end

_LONGEST_LINE = 998  # RFC 5322 section 2.1.1
_BARE = re.compile(rb"\r\n|\r|\n")
_FIELD_FIRST = re.compile(rb"[!-9;-~]+[ \t]*:")
_POLICY = policy.SMTP.clone(cte_type="7bit")
_VERSION = Wanted(("mime-version",))


class WholeContent:
    """A message as one template."""

    def __init__(self, source: str, dialect: TemplateDialect, templates: Templates) -> None:
        """Raises BadRequest."""
        self._render = templates.message(dialect, source)

    def message(self, email: str, name: str | None, values: Mapping[str, Any], now: float) -> bytes:
        """The message for one recipient.  Raises BadRequest."""
        try:
            content = _BARE.sub(b"\r\n", self._render(values).encode())
        except UnicodeEncodeError as fault:
            raise BadRequest(f"content: text that UTF-8 cannot have: {fault.reason}") from None
        return conforming(content)


def conforming(content: bytes) -> bytes:
    """A message with CRLF as it may go out.  Raises BadRequest: it is none."""
    if not _FIELD_FIRST.match(content):
        raise BadRequest("content: it does not begin with a header field, expected a whole message")
    end = header_end(content)
    _check_header(content[:end])
    if end == len(content):
        content = content.rstrip(b"\r\n") + b"\r\n\r\n"  # nothing but a header
    if not content.isascii() or any(len(line) > _LONGEST_LINE for line in content.split(b"\r\n")) or b"\0" in content:
        content = _rebuilt(content)
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    return content if _VERSION.read(content) else b"MIME-Version: 1.0\r\n" + content


def _check_header(block: bytes) -> None:
    for line in block.split(b"\r\n"):
        if line and line[:1] not in b" \t" and not _FIELD_FIRST.match(line):
            raise BadRequest(f"content: {line[:60].decode('utf-8', 'replace')!r} in its header is no field")


def _rebuilt(content: bytes) -> bytes:
    end = header_end(content)
    fields = _fields(content[:end])
    # The parser gets a header in ASCII: its own guesses about other octets there lose characters.
    message = BytesParser(EmailMessage, policy=_POLICY).parsebytes(b"".join(fields) + content[end:])
    try:
        for part in list(message.walk()):
            if not part.is_multipart():
                _encode(part)
                if part is not message:
                    del part["mime-version"]  # only a whole message has one
        return message.as_bytes(policy=_POLICY)
    except (ValueError, LookupError, AttributeError, KeyError, TypeError) as fault:
        raise BadRequest(f"content: it cannot be encoded: {fault}") from None


def _fields(block: bytes) -> list[bytes]:
    unfolded = re.sub(rb"\r\n(?=[ \t])", b"", block)
    found = []
    for line in unfolded.split(b"\r\n"):
        if not line:
            continue
        name, _, value = line.partition(b":")
        found.append(field(name.decode("ascii").strip(), value.decode("utf-8", "replace")))
    return found


def _encode(part: EmailMessage) -> None:
    """Give a part whose octets are not ASCII, or whose lines are too long, a transfer encoding."""
    if str(part.get("content-transfer-encoding", "7bit")).strip().lower() in ("base64", "quoted-printable"):
        return
    octets = part.get_payload(decode=True)
    if not isinstance(octets, bytes):
        return
    if octets.isascii() and b"\0" not in octets and all(len(line) <= _LONGEST_LINE for line in octets.split(b"\r\n")):
        return
    if part.get_content_maintype() == "text":
        _encode_text(part, octets)
        return
    del part["content-transfer-encoding"]
    part.set_payload(octets)
    encode_base64(part)


def _encode_text(part: EmailMessage, octets: bytes) -> None:
    """What the client sent was JSON, so it is UTF-8 whatever the part calls it."""
    had = cast(dict[str, str], dict(part.get_params(failobj=[], unquote=True)[1:])) if part.get("content-type") else {}
    subtype = part.get_content_subtype()
    disposition = part.get("content-disposition")
    part.set_content(octets.decode("utf-8", "replace"), subtype=subtype, charset="utf-8")
    for key, value in had.items():
        if key.lower() != "charset" and isinstance(value, str):
            part.set_param(key, value)
    if disposition is not None and "content-disposition" not in part:
        part["Content-Disposition"] = str(disposition)
