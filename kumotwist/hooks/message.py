"""
A policy's view of a message: envelope, metadata, header and content, and when it is tried.

A view is made for each event and is cheap: it holds the message and nothing else, so what one handler changes, the next one
sees.  It is good for the event that it is handed to.  Later the message may wait with only its place in the queues in memory;
a view that was kept until then says so.  Content is changed at reception: afterwards the spool has it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Never

from kumotwist.authentication.results import AuthenticationResult, BadResults, format_results, parse_results
from kumotwist.authentication.selection import WantedSignature
from kumotwist.hooks.absent import missing
from kumotwist.hooks.address_header import AddressHeader, parse_address_header
from kumotwist.hooks.checks import arc_chain, dkim_results
from kumotwist.hooks.conformance import Repair, encodings_tried, faults_of, names_of, parse_flags, repaired
from kumotwist.hooks.context import services
from kumotwist.hooks.fields import at_bottom, field_line
from kumotwist.hooks.imports import HeaderImport, imported, read_imports
from kumotwist.hooks.meta import copied, write_meta
from kumotwist.hooks.mime import parse_whole, with_appended
from kumotwist.hooks.signing import Asked, Signatures
from kumotwist.mail.address import NULL_SENDER, Mailbox, parse_mailbox
from kumotwist.mail.headers import Wanted, all_values, first_value, raw_values, without
from kumotwist.mail.message import Message
from kumotwist.mail.reply import Refusal, reply
from kumotwist.mail.schedule import BadSchedule, Schedule, parse_schedule
from kumotwist.reports.feedback import FeedbackReport, read_feedback
from kumotwist.reports.parts import part_of
from kumotwist.reports.status_report import StatusReport, read_status

_EVERY_FIELD = Wanted(("*",))


class BadSchedulingHeader(Refusal, ValueError):
    """A scheduling header that cannot be understood.  A policy may catch it as a ValueError; else it refuses the message."""


class ContentAway(RuntimeError):
    """The content, or the envelope too, is only in the spool now."""


def mailbox(given: str | Mailbox) -> Mailbox:
    """An envelope address, with < and > around it or not; empty: the null sender.  Raises BadAddress (a ValueError)."""
    if isinstance(given, Mailbox):
        return given
    text = given.strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    return parse_mailbox(text) if text else NULL_SENDER


def mailboxes(given: str | Mailbox | Iterable[str | Mailbox]) -> tuple[Mailbox, ...]:
    """One recipient or several.  Raises ValueError where there is none, or the null sender among them."""
    found = (mailbox(given),) if isinstance(given, str | Mailbox) else tuple(map(mailbox, given))
    if not found or NULL_SENDER in found:
        raise ValueError("a message without a recipient" if not found else "the null sender cannot be a recipient")
    return found


class PolicyMessage:
    """What handlers of message events get; `kumo.Message`."""

    __slots__ = ("_message", "_signatures")

    def __init__(self, message: Message, signatures: Signatures | None = None) -> None:
        """signatures: those that are asked for, which whoever has the message makes when the handlers are done; None: too late."""
        self._message = message
        self._signatures = signatures

    def __repr__(self) -> str:
        return f"<message {self._message.id}>"

    # Envelope

    @property
    def id(self) -> str:
        """32 hex digits."""
        return self._message.id

    @property
    def sender(self) -> Mailbox:
        """Its `user`, `domain` and `email`; all empty for the null sender."""
        return self._loaded().sender

    @property
    def recipient(self) -> Mailbox:
        """The first recipient."""
        return self._loaded().recipients[0]

    @property
    def recipients(self) -> tuple[Mailbox, ...]:
        return self._loaded().recipients

    @property
    def queue_name(self) -> str:
        """The scheduled queue that its metadata name now.  Raises ValueError where one of them is no text."""
        return self._loaded().queue_name()

    @property
    def num_attempts(self) -> int:
        """How often it failed so far, as far as failures count."""
        return self._message.attempts

    def recipient_list(self) -> list[Mailbox]:
        return list(self._loaded().recipients)

    def set_sender(self, sender: str | Mailbox) -> None:
        """Raises ValueError if it is no address; `<>` or an empty text is the null sender."""
        self._loaded().sender = mailbox(sender)

    def set_recipient(self, recipient: str | Mailbox | Iterable[str | Mailbox]) -> None:
        """One recipient, or several.  Raises ValueError."""
        self._loaded().recipients = mailboxes(recipient)

    def increment_num_attempts(self) -> None:
        self._message.attempts += 1

    # Metadata

    def get_meta(self, key: str) -> Any:
        """The value of a key; None if it is not set.  A list or a mapping is a copy."""
        return copied(self._loaded().meta.get(key))

    def set_meta(self, key: str, value: Any) -> None:
        """
        Note a value that JSON has too; None removes the key.  Raises ValueError.

        queue, tenant, campaign, routing_domain and egress_pool are texts: they choose the queue and the pool.
        """
        write_meta(self._loaded().meta, key, value)

    # Header

    def get_first_named_header_value(self, name: str) -> str | None:
        """Decoded, as it stands if it cannot be; None if there is none.  Names in any case."""
        return first_value(self._content(), name)

    def get_all_named_header_values(self, name: str) -> list[str]:
        return all_values(self._content(), name)

    def get_all_headers(self) -> list[tuple[str, str]]:
        """All fields as (name, value), in their order."""
        return [(field.name, field.value) for field in _EVERY_FIELD.read(self._content())]

    def from_header(self) -> AddressHeader | None:
        return self.get_address_header("From")

    def to_header(self) -> AddressHeader | None:
        return self.get_address_header("To")

    def get_address_header(self, name: str) -> AddressHeader | None:
        """The addresses of the first field of that name; None if there is none.  Raises ValueError if they are none."""
        values = raw_values(self._content(), name)
        return parse_address_header(name, values[0]) if values else None

    def prepend_header(self, name: str, value: str, encode: bool = False) -> None:
        """
        A field on top of all.  Raises ValueError where the value would not be one field.

        encode: fold it, and write what is not ASCII as encoded words; else it stands as it is, folded already if it is long.
        """
        self.set_data(field_line(name, value, encode=encode) + self._content())

    def append_header(self, name: str, value: str, encode: bool = False) -> None:
        """A field below all others.  Raises ValueError, as `prepend_header` does, and where the header has no end."""
        self.set_data(at_bottom(self._content(), field_line(name, value, encode=encode)))

    def remove_all_named_headers(self, name: str) -> None:
        self.set_data(without(self._content(), (_exactly(name),)))

    def remove_x_headers(self, names: Sequence[str] = ()) -> None:
        """The fields of these names; without names all that begin with X-."""
        self.set_data(without(self._content(), tuple(map(_exactly, names)) or ("x-*",)))

    def import_x_headers(self, names: Sequence[str] = ()) -> None:
        """Copy fields into metadata, X-Campaign-ID as `x_campaign_id`; without names all that begin with X-; the last counts."""
        self._import(tuple(HeaderImport(name=_exactly(name)) for name in names) or (HeaderImport(name="x-*"),))

    def import_headers(self, specs: Iterable[Mapping[str, Any]]) -> None:
        """
        Copy fields into metadata: for each the first spec that fits.  Raises ValueError for a spec that is none.

        name: of the field, with `*` at its end for any ending.  match: `last`, `first` or `all` (a list).  transform: how the
        name becomes the key: `snake_case`, `kebab_case`, `camel_case`, `pascal_case`.  target: the key instead.
        remove: take the fields out of the message.
        """
        self._import(read_imports(specs))

    def _import(self, imports: tuple[HeaderImport, ...]) -> None:
        content = self._content()
        found, removed = imported(content, imports)
        for key, value in found.items():
            self.set_meta(key, value)
        if removed:
            self.set_data(without(content, removed))

    # When it is tried

    def import_scheduling_header(self, name: str, remove: bool = False) -> Schedule | None:
        """
        Take the schedule from a field with the model's JSON; None, and nothing changes, if there is none.

        remove: take the fields of that name out of the message.  Raises BadSchedulingHeader.
        """
        value = first_value(self._content(), name)
        if value is None:
            return None
        try:
            schedule = parse_schedule(json.loads(value))
        except (ValueError, RecursionError) as fault:
            reason = str(fault) if isinstance(fault, BadSchedule) else "it is not JSON"
            told = "".join(c if c.isprintable() else "?" for c in reason[:100])
            raise BadSchedulingHeader(reply(f"554 5.6.0 invalid {name} header: {told}")) from None
        self._message.schedule = schedule
        if remove:
            self.remove_all_named_headers(name)
        return schedule

    def set_scheduling(self, constraints: Mapping[str, Any] | None) -> Schedule | None:
        """
        When the message may be tried: first_attempt, expires, and dow with tz, start and end; None: at any time.

        Times are RFC 3339 texts with an offset.  Raises BadSchedule (a ValueError).
        """
        schedule = None if constraints is None else parse_schedule(dict(constraints))
        self._message.schedule = schedule
        return schedule

    def set_due(self, when: str | float | datetime | None) -> None:
        """
        When it is tried next, within its schedule: RFC 3339, a datetime with a zone, or epoch seconds; None: now.

        It counts at reception and in `throttle_insert_ready_queue` and `spool_message_enumerated`.  Raises ValueError.
        """
        message = self._message
        due = 0.0 if when is None else _instant(when)
        message.due = due if message.schedule is None or when is None else message.schedule.adjust(due)

    # Content

    def get_data(self) -> bytes:
        """The whole message, header and body, with CRLF."""
        return self._content()

    def set_data(self, content: bytes) -> None:
        """Another content.  It is taken as it is: line ends and encoding are the caller's.  Raises ValueError if it is empty."""
        if not isinstance(content, bytes | bytearray | memoryview):
            raise TypeError(f"set_data: a {type(content).__name__}, expected bytes")
        if not content:
            raise ValueError("set_data: a message without any content")
        self._message.content = bytes(content)
        self._message.size = len(content)

    def parse_mime(self) -> EmailMessage:
        """A copy as Python's EmailMessage; `set_data(bytes(it))` writes it back, all of it encoded anew."""
        return parse_whole(self._content())

    def parse_rfc3464(self) -> StatusReport | None:
        """The report of deliveries that it is; None where it is none.  Raises ValueError where it is one, and malformed."""
        return read_status(part_of(self._content()))

    def parse_rfc5965(self) -> FeedbackReport | None:
        """The complaint that it is; None where it is none.  Raises ValueError where it lacks what RFC 5965 demands."""
        return read_feedback(part_of(self._content()), self._message.recipients)

    def append_text_plain(self, text: str) -> bool:
        """More text at the end of the first plain part, on a line of its own; False where there is no such part."""
        return self._append("plain", text)

    def append_text_html(self, text: str) -> bool:
        """More HTML in the first HTML part, before its last `</body>` or else at its end; False where there is no such part."""
        return self._append("html", text)

    def _append(self, subtype: str, text: str) -> bool:
        content = with_appended(self._content(), subtype, text)
        if content is not None:
            self.set_data(content)
        return content is not None

    def check_fix_conformance(self, checks: str, fixes: str, settings: Mapping[str, Any] | None = None) -> str | None:
        """
        Look for what is wrong, and repair what may be repaired; flags are names with `|` between them (`hooks.conformance`).

        Returns None, or says what of `checks` is wrong and not in `fixes`; then nothing is changed.
        settings: detect_encoding, include_encodings, exclude_encodings, message_id.  Raises ValueError for an unknown flag.
        """
        wanted, fixed = parse_flags(checks), parse_flags(fixes)
        content = self._content()
        found = faults_of(content)
        wrong = found & wanted & ~fixed
        if wrong:
            return f"Message has conformance issues: {names_of(wrong)}"
        if found & fixed:
            self.set_data(repaired(content, found & fixed, self._repair(settings or {})))
        return None

    def _repair(self, settings: Mapping[str, Any]) -> Repair:
        for key in settings:
            if key not in ("detect_encoding", "include_encodings", "exclude_encodings", "message_id"):
                raise ValueError(f"check_fix_conformance: unknown setting {key!r}")
        message = self._message
        domain = message.sender.domain or message.meta.get("hostname") or "localhost"
        now = datetime.fromtimestamp(services("check_fix_conformance").clock.seconds(), UTC)
        return Repair(
            date=format_datetime(now),
            message_id=settings.get("message_id") or f"<{message.id}@{domain}>",
            detect_encoding=bool(settings.get("detect_encoding", False)),
            encodings=encodings_tried(settings.get("include_encodings", ()), settings.get("exclude_encodings", ())),
        )

    # Signatures and checks

    def dkim_sign(self, signer: WantedSignature) -> Asked:
        """
        Have the message signed, by a signer of `kumo.dkim`.

        The signature is made when the handlers are done, over what they have made of the message; `await` it to have it on
        top now.  At reception, and for messages of `kumo.make_message` before they are injected.
        """
        signing = services("dkim_sign").signing
        if signing is None or self._signatures is None:
            raise RuntimeError("dkim_sign: messages are signed where they are received or made")
        if not isinstance(signer, WantedSignature):
            raise TypeError(f"dkim_sign: a {type(signer).__name__}, expected a signer of kumo.dkim")
        return Asked(signing, self._signatures, signer)

    async def dkim_verify(self) -> list[AuthenticationResult]:
        """What became of each DKIM signature, from the top; an empty list for a message without."""
        return await dkim_results(self._whole())

    async def arc_verify(self) -> AuthenticationResult:
        """Whether the chain of those who handled the message holds: `none`, `pass` or `fail`."""
        return (await arc_chain(self._whole())).told()

    async def arc_seal(self, signer: WantedSignature, server_id: str, results: Sequence[AuthenticationResult]) -> None:
        """
        Add ourselves to that chain, after all other changes; nothing happens where the chain is broken.

        results: what we have found.  Fails with Refusal where the signer's key cannot be used.
        """
        signing = services("arc_seal").signing
        if signing is None:
            raise RuntimeError("arc_seal: nothing is signed here")
        message = self._whole()
        await signing.seal(message, await arc_chain(message), signer, server_id, results)

    def add_authentication_results(self, server_id: str, results: Sequence[AuthenticationResult]) -> None:
        """Put what was found on top of the message, as Authentication-Results said by `server_id`."""
        self.set_data(f"Authentication-Results: {format_results(server_id, results)}\r\n".encode() + self._content())

    def get_authentication_results(self, server_id: str) -> list[AuthenticationResult]:
        """What fields in the message say was found by `server_id`, from the top; others' and unreadable ones are passed over."""
        found: list[AuthenticationResult] = []
        for value in raw_values(self._content(), "Authentication-Results"):
            try:
                server, results = parse_results(value.decode("latin-1"))
            except BadResults:
                continue
            if server.lower() == server_id.lower():
                found += results
        return found

    # Ourselves

    def _whole(self) -> Message:
        """The message, content included."""
        self._content()
        return self._loaded()

    def _loaded(self) -> Message:
        message = self._message
        if not message.envelope_loaded:
            raise ContentAway(f"message {message.id} waits, and is only in the spool now; use it while its event lasts")
        return message

    def _content(self) -> bytes:
        content = self._message.content
        if content is None:
            raise ContentAway(f"the content of message {self._message.id} is only in the spool now")
        return content

    if not TYPE_CHECKING:  # else no name would be unknown to a type checker

        def __getattr__(self, name: str) -> Never:
            raise missing("message", name, dir(type(self)))


def _exactly(name: str) -> str:
    """A name that stands for itself: `*` has no meaning there."""
    if not name or "*" in name:
        raise ValueError(f"not a header field name: {name!r}")
    return name


def _instant(when: str | float | datetime) -> float:
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    if not isinstance(when, datetime):
        return float(when)
    if when.tzinfo is None:
        raise ValueError(f"set_due: {when.isoformat()} needs an offset from UTC")
    return when.timestamp()


def message_of(view: PolicyMessage) -> Message:
    """The message that a view shows, for our own use."""
    return view._message
