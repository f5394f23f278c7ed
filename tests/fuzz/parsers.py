"""The parsers by name: how each is fed, and what of it is a refusal and no fault."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import Struct

from kumotwist.authentication import dmarc, spf_record
from kumotwist.authentication.canonical import Canonicalization, canonical_body
from kumotwist.authentication.keys import KeyUnusable, parse_key_record
from kumotwist.authentication.results import BadResults, parse_results
from kumotwist.authentication.tags import BadTags, parse_tags
from kumotwist.authentication.verification import read_signature
from kumotwist.config.listeners import LineEndings
from kumotwist.config.read import examine
from kumotwist.injection.request import read_request
from kumotwist.mail.address import NULL_SENDER, BadAddress, parse_mailbox
from kumotwist.mail.headers import Wanted, all_values, has_hops, without
from kumotwist.mail.queue_name import format_queue_name, parse_queue_name
from kumotwist.mail.schedule import BadSchedule, parse_schedule
from kumotwist.reception.proxy_header import BadProxyHeader, parse_proxy_header
from kumotwist.reports.arrived import read_report
from kumotwist.reports.parts import part_of, walk
from kumotwist.smtp.client_session import ClientSession, PeerBrokeProtocol
from kumotwist.smtp.commands import NEED_DATA, Content, Refused
from kumotwist.smtp.grammar import parse_command
from kumotwist.smtp.server_session import Limits, ServerSession

LIMITS = Limits(max_message_size=2000, max_line=200, line_endings=LineEndings.DENY)


class Parser(Struct, frozen=True):
    """given: what it is fed with.  feed: feeds it; whatever it raises is a finding."""

    given: st.SearchStrategy[Any]
    feed: Callable[[Any], object]


def mixed(*words: bytes) -> st.SearchStrategy[bytes]:
    """Octets in which these words, and what separates them, turn up far more often than by chance."""
    marks = [
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b";",
        b"=",
        b"<",
        b">",
        b"@",
        b'"',
        b"\\",
        b"(",
        b".",
        b"\xff",
        b"\xc3\xbc",
    ]
    pieces = st.one_of(st.sampled_from([*words, *marks]), st.binary(max_size=6))
    return st.lists(pieces, max_size=40).map(b"".join)


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _server(octets: bytes) -> None:
    """A server's side; commands are granted, and a message holds no CRLF.CRLF and no bare line end whatever was sent."""
    session = ServerSession(LIMITS, "mx.example")
    for at in range(0, len(octets), 7):
        session.receive(octets[at : at + 7])
        while (event := session.next_event()) is not NEED_DATA:
            if isinstance(event, Content):
                assert len(event.body) <= LIMITS.max_message_size
                assert b"\n" not in event.body.replace(b"\r\n", b"")
            elif isinstance(event, Refused):
                if event.closes:
                    return
            elif type(event).__name__ not in ("Chunk", "Response"):
                session.accept(event)  # type: ignore[arg-type]  # what is left is a command
        assert session.buffered <= 1000


def _client(octets: bytes) -> None:
    session = ClientSession()
    session.ehlo("c.example")
    session.group("a@example.net", "", ["b@example.org"], rset=False)
    for at in range(0, len(octets), 5):
        with suppress(PeerBrokeProtocol):
            session.receive(octets[at : at + 5])
            continue
        return


def _headers(octets: bytes) -> None:
    Wanted(["Subject", "X-*"]).read(octets)
    all_values(octets, "Subject")
    has_hops(octets, 100)
    kept = without(octets, ["X-Tenant"])
    assert not all_values(kept, "X-Tenant")


def _mime(octets: bytes) -> None:
    for part in walk(part_of(octets)):
        assert part is not None


def _report(octets: bytes) -> None:
    read_report(octets, NULL_SENDER, [])


def _refusing(*refusals: type[Exception]) -> Callable[[Callable[[Any], object]], Callable[[Any], object]]:
    def around(feed: Callable[[Any], object]) -> Callable[[Any], object]:
        def fed(given: Any) -> None:
            with suppress(*refusals):
                feed(given)

        return fed

    return around


def _dkim(octets: bytes) -> None:
    for form in Canonicalization:
        canonical_body(octets, form)
    for parse, refusal in ((parse_key_record, KeyUnusable), (parse_results, BadResults)):
        with suppress(refusal, BadTags):
            parse(_text(octets))
    with suppress(BadTags):
        read_signature(octets, parse_tags(octets.decode("latin-1")), 0.0)


def _policies(octets: bytes) -> None:
    text = _text(octets)
    with suppress(spf_record.BadRecord):
        spf_record.parse_record("v=spf1 " + text)
    with suppress(BadTags, ValueError):
        dmarc.parse_record("v=DMARC1; p=none; " + text)


def _yaml(octets: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        Path(file.name).write_bytes(octets)
        found = examine(file.name)
        assert (found.config is None) == bool(found.faults)


def _queue_name(given: tuple[str, str | None, str | None, str | None]) -> None:
    parse_queue_name(given[0])
    parse_queue_name(format_queue_name(*given))


_NAMES = st.one_of(st.none(), st.text(max_size=12))
_REPORTS = mixed(
    b"Content-Type: multipart/report; boundary=x\r\n",
    b"\r\n--x\r\n",
    b"--x--",
    b"report-type=delivery-status",
    b"Final-Recipient: rfc822; ",
    b"Content-Type: message/delivery-status\r\n\r\n",
    b"Content-Type: message/feedback-report\r\n\r\n",
    b"Action: failed\r\n",
    b"Status: 5.1.1\r\n",
    b"Diagnostic-Code: smtp; 550 5.1.1 x\r\n",
    b"Feedback-Type: abuse\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Type: message/rfc822\r\n\r\n",
    b"Original-Rcpt-To: b@example.org\r\n",
    b"Arrival-Date: ",
    b"=?utf-8?q?x?=",
)

PARSERS: Mapping[str, Parser] = {
    "server": Parser(
        mixed(
            b"EHLO x\r\n",
            b"MAIL FROM:<a@b.c>\r\n",
            b"RCPT TO:<d@e.f>\r\n",
            b"DATA\r\n",
            b".\r\n",
            b"\r\n.\r\n",
            b"BDAT 5 LAST\r\n",
            b"BDAT 9\r\n",
            b"RSET\r\n",
            b"AUTH PLAIN ",
            b"STARTTLS\r\n",
            b"\n.\n",
            b"\r.\r",
            b"\r\n.\n",
            b"XCLIENT ADDR=",
            b"x" * 250,
        ),
        _server,
    ),
    "command": Parser(
        mixed(b"MAIL FROM:", b"RCPT TO:", b"<a@b.c>", b" SIZE=", b" BODY=8BITMIME", b"BDAT ", b"XCLIENT ", b"AUTH "), parse_command
    ),
    "client": Parser(mixed(b"250 ", b"250-", b"550 5.1.1 x", b"421 ", b"354 go\r\n", b"x" * 600), _client),
    "address": Parser(
        st.one_of(st.text(max_size=80), mixed(b"a@b.c", b"[192.0.2.1]", b"[IPv6:", b"xn--", b"..").map(_text)),
        _refusing(BadAddress)(parse_mailbox),
    ),
    "headers": Parser(mixed(b"Subject: x", b"X-Tenant: y", b"X-", b"=?utf-8?b?AA==?=", b"Received:"), _headers),
    "mime": Parser(_REPORTS, _mime),
    "report": Parser(_REPORTS, _report),
    "dkim": Parser(
        mixed(b"v=1", b"a=rsa-sha256", b"h=from", b"bh=AA==", b"b=AA==", b"d=x.y", b"s=z", b"k=rsa", b"p=", b"l=", b"t="), _dkim
    ),
    "policies": Parser(
        mixed(b"include:", b"ip4:", b"ip6:", b"/24", b"//64", b"%{i", b"redirect=", b"-all", b"pct=", b"rua=mailto:"), _policies
    ),
    "proxy": Parser(
        mixed(b"PROXY TCP4 ", b"192.0.2.1 ", b"25", b"\r\n\r\n\0\r\nQUIT\n", b"\x21\x11\0\x0c", b"PROXY UNKNOWN\r\n", b"PROXY "),
        _refusing(BadProxyHeader)(parse_proxy_header),
    ),
    "yaml": Parser(
        mixed(
            b"esmtp_listeners:\n",
            b"- listen: ",
            b"  ",
            b"queues: {",
            b"}",
            b"[",
            b"]",
            b"&a ",
            b"*a",
            b"<<: ",
            b"!!python/object",
            b"spool:",
            b"? ",
            b"memory: {hard_limit: ",
            b"127.0.0.1:25",
            b"---\n",
            b"|\n",
        ),
        _yaml,
    ),
    "queue name": Parser(st.tuples(st.text(max_size=30), _NAMES, _NAMES, _NAMES), _queue_name),
    "http body": Parser(
        mixed(b'{"envelope_sender":', b'"recipients":[', b'{"email":', b'"content":', b"}", b"]", b",", b'"x"', b"1e999", b"null"),
        _refusing(ValueError, msgspec.MsgspecError)(read_request),
    ),
    "schedule": Parser(
        st.dictionaries(
            st.sampled_from(["dow", "tz", "start", "end", "first_attempt", "expires"]),
            st.one_of(st.text(max_size=20), st.integers(), st.none(), st.floats()),
        ),
        _refusing(BadSchedule)(parse_schedule),
    ),
}
