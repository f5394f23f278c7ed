"""
Every listener parameter that can be overridden is, in every place where it can stand: `via`, `peer`, both nested, and what a
policy answers for a connection; and each of them is seen by the client, or on its message.
"""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from msgspec.structs import fields
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.dynamic import parse_listener_overrides
from kumotwist.config.given import BadParameters
from kumotwist.config.listeners import ListenerOverrides, ListenerSettings
from kumotwist.config.networks import ByNetwork
from kumotwist.config.virtual_hosts import effective
from tests.config.certificate import certificate_and_key
from tests.reception.fakes import FakeTransport, Line

# As the model's reference has them: allowed in `via`, `peer` and the policy's answer, or only for the whole listener.
_NAMES = """
    hostname banner relay_hosts max_message_size max_recipients_per_message max_messages_per_connection client_timeout
    data_processing_timeout data_buffer_size line_length_hard_limit invalid_line_endings batch_handling trace_headers
    tls_certificate tls_private_key tls_required_client_ca deferred_spool deferred_queue allow_xclient require_proxy_protocol
    meta peer via
"""
EVERYWHERE = set(_NAMES.split())
WHOLE = {"listen", "max_connections"}
OURS = {"sni"}  # ours, beside tls_certificate
NEVER = {"deferred_spool", "deferred_queue"}  # refused wherever they stand: tests/config/test_listeners.py

HELLO = b"EHLO c.example"
MAIL = b"MAIL FROM:<a@example.net>"
BODY = (b"DATA", b"Subject: x", b"", b"text", b".")
CERTIFICATE, KEY = (pem.decode() for pem in certificate_and_key("other.example"))
PAIR = {"tls_certificate": {"key_data": CERTIFICATE}, "tls_private_key": {"key_data": KEY}}


def _greeting(line: Line) -> bytes:
    return line.heard()


def _extensions(line: Line) -> bytes:
    return line.say(HELLO)


def _recipient(line: Line) -> bytes:
    return line.say(HELLO, MAIL, b"RCPT TO:<b@elsewhere.example>")[-60:]


def _three_recipients(line: Line) -> bytes:
    return line.say(HELLO, MAIL, *(b"RCPT TO:<%d@example.org>" % n for n in range(3)))[-60:]


def _second_message(line: Line) -> bytes:
    line.say(HELLO, MAIL, b"RCPT TO:<b@example.org>", *BODY)
    return line.say(MAIL)


def _silence(line: Line) -> bytes:
    line.heard()
    line.clock.advance(7.0)
    return line.heard()


def _long_line(line: Line) -> bytes:
    line.say(HELLO)
    return line.say(b"NOOP " + b"x" * 100)


def _bare_line_feed(line: Line) -> bytes:
    return line.say(HELLO, MAIL, b"RCPT TO:<b@example.org>", b"DATA", b"Subject: x", b"", b"a\nb", b".")[-80:]


def _one_message(line: Line) -> Any:
    line.say(HELLO, MAIL, b"RCPT TO:<b@example.org>", b"RCPT TO:<c@example.org>", *BODY)
    return [(message.content, message.meta, len(message.recipients)) for message in line.desk.taken]


def _reading(line: Line) -> Any:
    return line.transport.bufferSize  # type: ignore[attr-defined]  # as a real one has it


def _late_policy(line: Line) -> Any:
    return line.wire._conversation._settings.data_processing_timeout  # tests/dialogues/policy_too_slow.smtp shows what it does


def _tls(line: Line) -> Any:
    line.say(HELLO, b"STARTTLS")
    context = line.transport.tls_contexts[0].getContext()  # type: ignore[attr-defined]
    return context.get_verify_mode() if hasattr(context, "get_verify_mode") else None, _subject(context)


def _subject(context: Any) -> str:
    connection = SSL.Connection(context, None)
    connection.set_accept_state()
    certificate = connection.get_certificate()
    return "" if certificate is None else str(certificate.get_subject().CN)


Look = Callable[[Line], Any]

# Parameter → a value for it, and where it shows.
SHOWN: dict[str, tuple[Any, Look]] = {
    "hostname": ("other.example", _greeting),
    "banner": ("Welcome", _greeting),
    "relay_hosts": ([], _recipient),
    "max_message_size": (12345, _extensions),
    "max_recipients_per_message": (2, _three_recipients),
    "max_messages_per_connection": (1, _second_message),
    "client_timeout": (5, _silence),
    "data_processing_timeout": (7, _late_policy),
    "data_buffer_size": (4096, _reading),
    "line_length_hard_limit": (50, _long_line),
    "invalid_line_endings": ("Fix", _bare_line_feed),
    "batch_handling": ("BatchByDomain", _one_message),
    "trace_headers": ({"received_header": False}, _one_message),
    "tls_certificate": (PAIR, _tls),
    "tls_private_key": (PAIR, _tls),
    "tls_required_client_ca": ({"key_data": CERTIFICATE}, _tls),
    "allow_xclient": (True, _extensions),
    "meta": ({"x_host": "other"}, _one_message),
    "sni": ({"asked.example": PAIR}, lambda line: set(line.wire._conversation._settings.sni)),
}

LOCAL, PEER = "10.0.0.1", "192.0.2.7"


def _named(key: str, value: Any) -> dict[str, Any]:
    return dict(value) if value is PAIR else {key: value}


PLACES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "itself": lambda block: block,
    "via": lambda block: {"via": {LOCAL: block}},
    "peer": lambda block: {"peer": {"192.0.2.0/24": block}},
    "via in peer": lambda block: {"peer": {"any": {"via": {"10.0.0.0/8": block}}}},
    "peer in via": lambda block: {"via": {"any": {"peer": {PEER: block}}}},
}


class OverrideTests(SynchronousTestCase):
    def line(self, settings: ListenerSettings, answer: dict[str, Any] | None = None) -> Line:
        policy = {"smtp_server_get_dynamic_parameters": [lambda: answer]} if answer is not None else {}
        line = Line(settings, connect=False, policy=policy)
        line.transport = FakeTransport(PEER, LOCAL)
        line.connect()
        return line

    def settings(self, given: dict[str, Any]) -> ListenerSettings:
        """A listener that everybody may send through, with these as a file says them."""
        base = effective(
            ListenerSettings(), peer_ip=PEER, local_ip=LOCAL, dynamic=parse_listener_overrides({"relay_hosts": ["any"]})
        )
        overrides = parse_listener_overrides(given)
        return effective(base, peer_ip=PEER, local_ip=LOCAL, dynamic=overrides)

    def test_the_parameters_are_those_of_the_reference(self) -> None:
        self.assertEqual({field.name for field in fields(ListenerSettings)}, EVERYWHERE | WHOLE | OURS)
        self.assertEqual(EVERYWHERE | OURS, SHOWN.keys() | NEVER | {"peer", "via", "require_proxy_protocol"})

    def test_each_can_be_overridden_wherever_it_may_stand_and_shows(self) -> None:
        for key, (value, look) in SHOWN.items():
            plain = look(self.line(self.settings({})))
            for place, put in PLACES.items():
                with self.subTest(key, place=place):
                    shown = look(self.line(self.settings(put(_named(key, value)))))
                    self.assertNotEqual(shown, plain)
                    by_policy = look(self.line(self.settings({}), put(_named(key, value))))
                    self.assertEqual(repr(by_policy)[:200], repr(shown)[:200])

    def test_what_is_for_others_changes_nothing(self) -> None:
        for key, (value, look) in SHOWN.items():
            with self.subTest(key):
                others = {"via": {"10.0.0.2": _named(key, value)}, "peer": {"198.51.100.0/24": _named(key, value)}}
                self.assertEqual(repr(look(self.line(self.settings(others))))[:200], repr(look(self.line(self.settings({}))))[:200])

    def test_a_proxy_header_is_asked_of_whom_it_is_demanded(self) -> None:
        demanded = ListenerOverrides(options={"require_proxy_protocol": True})
        for settings in (
            ListenerSettings(via=ByNetwork({ip_network(LOCAL): demanded})),
            ListenerSettings(peer=ByNetwork({ip_network("192.0.2.0/24"): demanded})),
        ):
            line = self.line(settings)
            self.assertEqual(line.heard(), b"")
            self.assertTrue(line.say(b"PROXY TCP4 192.0.2.9 10.0.0.9 5 25").startswith(b"220 "))

    def test_what_holds_for_a_whole_listener_stands_nowhere_else(self) -> None:
        for key in sorted(WHOLE):
            for place in PLACES.values():
                with self.assertRaisesRegex(BadParameters, f"{key} holds for the whole listener"):
                    parse_listener_overrides(place({key: 5}))
