"""
What `POST /api/inject/v1` is asked, as values.  Names and defaults are the model's; unknown fields are errors.

The types are what requests are read by and what the API's description is made from.
"""

from enum import Enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from kumotwist.config.listeners import TraceHeaders

Email = Annotated[str, Meta(extra_json_schema={"format": "email"})]


class TemplateDialect(Enum):
    """How gaps are written."""

    JINJA = "Jinja"
    STATIC = "Static"  # there are none
    HANDLEBARS = "Handlebars"  # the model's; refused


class Recipient(Struct, frozen=True, forbid_unknown_fields=True):
    """One who gets a message.  substitutions go before those of the request; metadata become the message's meta `extra`."""

    email: Email
    name: str | None = None
    substitutions: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


class Correspondent(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom From or Reply-To names."""

    email: Email
    name: str | None = None


class Attachment(Struct, frozen=True, forbid_unknown_fields=True):
    """data: text, or base64 of anything.  content_id: it stands among the text, which refers to it."""

    data: str
    content_type: str
    content_id: str | None = None
    file_name: str | None = None
    base64: bool = False


class Content(Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """A message that is to be built.  text_body or html_body is needed."""

    text_body: str | None = None
    html_body: str | None = None
    amp_html_body: str | None = None
    attachments: list[Attachment] = []
    headers: dict[str, str] = {}
    from_: Correspondent | None = None
    subject: str | None = None
    reply_to: Correspondent | None = None


class HttpTraceHeaders(Struct, frozen=True, forbid_unknown_fields=True):
    """Which trace fields messages get on top."""

    received_header: bool = False
    supplemental_header: bool = True
    header_name: str = "X-KumoRef"
    include_meta_names: list[str] | dict[str, Any] = []  # the model's documentation draws an empty list as {}

    def settings(self) -> TraceHeaders:
        """Raises BadRequest."""
        return TraceHeaders(
            received_header=self.received_header,
            supplemental_header=self.supplemental_header,
            header_name=header_name(self.header_name),
            include_meta_names=tuple(self.include_meta_names),
        )


class InjectV1Request(Struct, frozen=True, forbid_unknown_fields=True):
    """One content for all recipients, who each get a message of their own."""

    envelope_sender: Email
    recipients: list[Recipient]
    content: str | Content
    substitutions: dict[str, Any] = {}
    template_dialect: TemplateDialect = TemplateDialect.JINJA
    trace_headers: HttpTraceHeaders = HttpTraceHeaders()
    deferred_spool: bool = False
    deferred_generation: bool = False


def _default(field: msgspec.structs.FieldInfo) -> tuple[Any, ...]:
    if field.default_factory is not msgspec.NODEFAULT:
        return (msgspec.field(default_factory=field.default_factory),)
    return () if field.required else (field.default,)


# The same, with each recipient still as it came: a hundred thousand of them are read in portions.
InjectionInPortions = msgspec.defstruct(
    "InjectionInPortions",
    [
        (field.name, list[Raw] if field.name == "recipients" else field.type, *_default(field))
        for field in msgspec.structs.fields(InjectV1Request)
    ],
    frozen=True,
    forbid_unknown_fields=True,
    namespace={"__doc__": "An InjectV1Request whose recipients were not looked at."},
)


class InjectV1Response(Struct, frozen=True):
    """How many messages there are, who gets none, and why (`recipient: reason`)."""

    success_count: Annotated[int, Meta(ge=0)]
    fail_count: Annotated[int, Meta(ge=0)]
    failed_recipients: list[str]
    errors: list[str]


class BadRequest(ValueError):
    """A request that cannot be fulfilled as it is; the argument says why, for the client."""


_decode = msgspec.json.Decoder(InjectionInPortions).decode
decode_recipient = msgspec.json.Decoder(Recipient).decode


def read_request(body: bytes) -> Any:
    """
    The request, its recipients unread.  Raises msgspec.DecodeError (ValidationError for JSON of the wrong shape), ValueError.

    20 ms for 10 MB: skipping is fast.
    """
    try:
        return _decode(body)
    except RecursionError:
        raise msgspec.ValidationError("nested too deep") from None


def check_recipients(recipients: list[Raw], start: int) -> None:
    """Whether they can be read; start: the place of the first in the request.  Raises msgspec.DecodeError, ValueError."""
    for at, raw in enumerate(recipients, start):
        try:
            decode_recipient(raw)
        except msgspec.ValidationError as fault:
            what, _, where = str(fault).partition(" - at `$")
            raise msgspec.ValidationError(f"{what} - at `$.recipients[{at}]{where or '`'}") from None
        except RecursionError:
            raise msgspec.ValidationError(f"nested too deep - at `$.recipients[{at}]`") from None


def header_name(given: str) -> str:
    """A name that a header field can have.  Raises BadRequest."""
    if not given or len(given) > 76 or not all("!" <= c <= "~" and c != ":" for c in given):
        raise BadRequest(f"{given[:60]!r} cannot be the name of a header field")
    return given
