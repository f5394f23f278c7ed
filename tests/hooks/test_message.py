"""A policy's view of a message."""

from datetime import UTC, datetime

from kumotwist.hooks.message import BadSchedulingHeader, ContentAway, message_of
from kumotwist.mail.address import NULL_SENDER, parse_mailbox
from kumotwist.mail.reply import Refusal
from kumotwist.mail.schedule import BadSchedule, Schedule
from tests.hooks.around import START, PolicyCase


class EnvelopeTests(PolicyCase):
    """Whom it is from and for."""

    def test_what_a_message_is(self) -> None:
        message = self.message(tenant="t", campaign="c")
        self.assertRegex(message.id, r"\A[0-9a-f]{32}\Z")
        self.assertEqual(
            (message.sender.user, message.sender.domain, message.sender.email), ("alice", "example.com", "alice@example.com")
        )
        self.assertEqual(message.recipient.email, "bob@example.org")
        self.assertEqual(message.queue_name, "c:t@example.org")
        self.assertEqual(message.num_attempts, 0)

    def test_several_recipients(self) -> None:
        message = self.message()
        message.set_recipient(["a@example.org", parse_mailbox("b@example.net")])
        self.assertEqual([one.email for one in message.recipients], ["a@example.org", "b@example.net"])
        self.assertEqual(message.recipient.email, "a@example.org")
        self.assertEqual(message.recipient_list(), list(message.recipients))

    def test_one_recipient(self) -> None:
        message = self.message()
        for given in ("<c@EXAMPLE.org>", " c@example.org ", parse_mailbox("c@example.org")):
            message.set_recipient("x@example.com")
            message.set_recipient(given)
            self.assertEqual([one.email for one in message.recipients], ["c@example.org"])

    def test_a_message_always_has_recipients(self) -> None:
        message = self.message()
        for given in ([], "", "<>", ["a@example.org", ""], "no address"):
            with self.assertRaises(ValueError):
                message.set_recipient(given)
        self.assertEqual(message.recipient.email, "bob@example.org")

    def test_the_sender(self) -> None:
        message = self.message()
        message.set_sender("news@example.net")
        self.assertEqual(message.sender.email, "news@example.net")
        for nobody in ("", "<>"):
            message.set_sender("x@example.com")
            message.set_sender(nobody)
            self.assertEqual(message.sender, NULL_SENDER)
        with self.assertRaises(ValueError):
            message.set_sender("no address")

    def test_attempts(self) -> None:
        message = self.message()
        message.increment_num_attempts()
        self.assertEqual(message.num_attempts, 1)


class QueueTests(PolicyCase):
    """The queue follows the metadata."""

    def test_the_table_of_names(self) -> None:
        table = {
            ("t", "c", None): "c:t@example.org",
            ("t", "c", "r"): "c:t@example.org!r",
            ("t", None, None): "t@example.org",
            ("t", None, "r"): "t@example.org!r",
            (None, "c", None): "c:@example.org",
            (None, "c", "r"): "c:@example.org!r",
            (None, None, None): "example.org",
            (None, None, "r"): "example.org!r",
        }
        for (tenant, campaign, routing_domain), name in table.items():
            message = self.message()
            message.set_meta("tenant", tenant)
            message.set_meta("campaign", campaign)
            message.set_meta("routing_domain", routing_domain)
            self.assertEqual(message.queue_name, name)

    def test_the_queue_meta_wins(self) -> None:
        message = self.message(tenant="t")
        message.set_meta("queue", "[20.83.209.56]")
        self.assertEqual(message.queue_name, "[20.83.209.56]")
        message.set_meta("queue", None)
        self.assertEqual(message.queue_name, "t@example.org")


class HeaderTests(PolicyCase):
    """Reading and importing header fields."""

    CONTENT = (
        b"Received: from x\r\nX-Tenant: first\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nx-tenant:second\r\n"
        b"X-Campaign-ID: sum\r\n mer\r\nFrom: \"Joe, B\" <joe@Example.COM>\r\nTo: a@b.example, c@d.example\r\n\r\nbody\r\n"
    )  # fmt: skip

    def test_values_are_decoded_and_names_are_taken_in_any_case(self) -> None:
        message = self.message(self.CONTENT)
        self.assertEqual(message.get_first_named_header_value("X-TENANT"), "first")
        self.assertEqual(message.get_all_named_header_values("X-Tenant"), ["first", "second"])
        self.assertEqual(message.get_first_named_header_value("subject"), "grüße")
        self.assertEqual(message.get_first_named_header_value("X-Campaign-ID"), "sum mer")
        self.assertIsNone(message.get_first_named_header_value("X-None"))
        self.assertEqual(message.get_all_named_header_values("X-None"), [])

    def test_all_headers_in_their_order(self) -> None:
        names = ["Received", "X-Tenant", "Subject", "x-tenant", "X-Campaign-ID", "From", "To"]
        headers = self.message(self.CONTENT).get_all_headers()
        self.assertEqual([name for name, _ in headers], names)
        self.assertEqual(headers[2], ("Subject", "grüße"))

    def test_addresses(self) -> None:
        message = self.message(self.CONTENT)
        sender, recipients = message.from_header(), message.to_header()
        assert sender is not None
        assert recipients is not None
        self.assertEqual(
            (sender.user, sender.domain, sender.email, sender.name), ("joe", "Example.COM", "joe@Example.COM", "Joe, B")
        )
        self.assertEqual([one.email for one in recipients.list], ["a@b.example", "c@d.example"])
        with self.assertRaises(ValueError):
            print(recipients.domain)
        self.assertIsNone(message.get_address_header("Cc"))

    def test_x_headers_become_metadata(self) -> None:
        message = self.message(self.CONTENT)
        message.import_x_headers()
        self.assertEqual((message.get_meta("x_tenant"), message.get_meta("x_campaign_id")), ("second", "sum mer"))
        message = self.message(self.CONTENT)
        message.import_x_headers(["X-Tenant", "Subject"])
        self.assertEqual((message.get_meta("x_tenant"), message.get_meta("subject")), ("second", "grüße"))
        self.assertIsNone(message.get_meta("x_campaign_id"))

    def test_named_x_headers_are_removed(self) -> None:
        message = self.message(self.CONTENT)
        message.remove_x_headers(["X-Tenant"])
        self.assertEqual(message.get_data(), self.CONTENT.replace(b"X-Tenant: first\r\n", b"").replace(b"x-tenant:second\r\n", b""))

    def test_importing_by_specs(self) -> None:
        table = {
            (("name", "X-Tenant"),): {"x_tenant": "second"},
            (("name", "X-Tenant"), ("match", "first")): {"x_tenant": "first"},
            (("name", "X-Tenant"), ("match", "all")): {"x_tenant": ["first", "second"]},
            (("name", "X-Tenant"), ("target", "tenant")): {"tenant": "second"},
            (("name", "X-Campaign-ID"), ("transform", "kebab_case")): {"x-campaign-id": "sum mer"},
            (("name", "X-Campaign-ID"), ("transform", "camel_case")): {"xCampaignId": "sum mer"},
            (("name", "X-Campaign-ID"), ("transform", "pascal_case")): {"XCampaignId": "sum mer"},
            (("name", "x-*"),): {"x_tenant": "second", "x_campaign_id": "sum mer"},
            (("name", "X-None"),): {},
        }
        for spec, found in table.items():
            message = self.message(self.CONTENT)
            before = dict(message_of(message).meta)
            message.import_headers([dict(spec)])
            self.assertEqual({key: value for key, value in message_of(message).meta.items() if key not in before}, found)
            self.assertEqual(message.get_data(), self.CONTENT)

    def test_the_first_spec_that_fits_counts_and_removes(self) -> None:
        message = self.message(self.CONTENT)
        message.import_headers([{"name": "X-Tenant", "target": "tenant", "match": "first", "remove": True}, {"name": "X-*"}])
        self.assertEqual((message.get_meta("tenant"), message.get_meta("x_tenant")), ("first", None))
        self.assertEqual(message.get_meta("x_campaign_id"), "sum mer")
        self.assertNotIn(b"enant", message.get_data())

    def test_specs_that_are_none_are_refused(self) -> None:
        table = [
            {},
            {"name": "*"},
            {"name": "X-*-Y"},
            {"name": ""},
            {"name": 3},
            {"name": "X", "match": "some"},
            {"name": "X", "transform": "upper"},
            {"name": "X-*", "target": "t"},
            {"name": "X", "nme": "y"},
            "X-Tenant",
        ]
        for spec in table:
            with self.assertRaises(ValueError, msg=repr(spec)):
                self.message(self.CONTENT).import_headers([spec])  # type: ignore[list-item]

    def test_a_star_means_nothing_in_a_name(self) -> None:
        message = self.message(self.CONTENT)
        for method in (message.remove_all_named_headers, lambda name: message.remove_x_headers([name])):
            with self.assertRaises(ValueError):
                method("X-*")


class SchedulingTests(PolicyCase):
    """When a message may be tried."""

    HEADER = b'X-Schedule: {"first_attempt": "2023-11-15T00:00:00+00:00"}\r\n'

    def test_the_header_becomes_the_schedule(self) -> None:
        message = self.message(self.HEADER + b"A: b\r\n\r\nbody\r\n")
        at = datetime(2023, 11, 15, tzinfo=UTC).timestamp()
        self.assertEqual(message.import_scheduling_header("x-schedule"), Schedule(first_attempt=at))
        self.assertEqual(message_of(message).schedule, Schedule(first_attempt=at))
        self.assertIn(b"X-Schedule", message.get_data())
        message.import_scheduling_header("X-Schedule", True)
        self.assertEqual(message.get_data(), b"A: b\r\n\r\nbody\r\n")

    def test_without_the_header_nothing_changes(self) -> None:
        message = self.message()
        schedule = message.set_scheduling({"expires": "2023-11-15T00:00:00+00:00"})
        self.assertIsNone(message.import_scheduling_header("X-Schedule"))
        self.assertEqual(message_of(message).schedule, schedule)

    def test_a_header_that_cannot_be_understood_refuses_the_message_or_is_caught(self) -> None:
        for value in (b"{", b"[]", b'{"dow": "Mon"}', b'{"first_attempt": "soon"}', b'{"\x1bx": 1}', b"[" * 100000):
            message = self.message(b"X-Schedule: " + value + b"\r\n\r\nbody\r\n")
            with self.assertRaises(BadSchedulingHeader) as caught:
                message.import_scheduling_header("X-Schedule")
            self.assertIsInstance(caught.exception, Refusal)
            self.assertIsInstance(caught.exception, ValueError)
            self.assertTrue(caught.exception.reply.encode().startswith(b"554 5.6.0 invalid X-Schedule header: "))
            self.assertTrue(caught.exception.reply.text.isprintable())
            self.assertIsNone(message_of(message).schedule)

    def test_the_schedule_can_be_set_and_cleared(self) -> None:
        message = self.message()
        window = {"dow": "Mon,Wed", "tz": "Europe/Vienna", "start": "09:00:00", "end": "17:00:00"}
        self.assertIsNotNone(message.set_scheduling(window))
        self.assertIsNone(message.set_scheduling(None))
        self.assertIsNone(message_of(message).schedule)
        with self.assertRaises(BadSchedule):
            message.set_scheduling({"dow": "Mon"})

    def test_the_due_time(self) -> None:
        message = self.message()
        when = datetime.fromtimestamp(START + 60, UTC)
        for given in (when, when.isoformat(), START + 60):
            message.set_due(None)
            self.assertEqual(message_of(message).due, 0.0)
            message.set_due(given)
            self.assertEqual(message_of(message).due, START + 60)
        for wrong in ("soon", "2023-11-15T00:00:00", datetime(2023, 11, 15)):
            with self.assertRaises(ValueError):
                message.set_due(wrong)

    def test_the_due_time_keeps_to_the_schedule(self) -> None:
        message = self.message()
        message.set_scheduling({"first_attempt": "2023-11-15T00:00:00+00:00"})
        message.set_due(START)
        self.assertEqual(message_of(message).due, datetime(2023, 11, 15, tzinfo=UTC).timestamp())


class ContentTests(PolicyCase):
    """The content as a whole."""

    def test_it_can_be_replaced(self) -> None:
        message = self.message()
        message.set_data(bytearray(b"A: b\r\n\r\nc\r\n"))
        self.assertEqual(message.get_data(), b"A: b\r\n\r\nc\r\n")
        self.assertEqual(message_of(message).size, 11)
        self.assertIs(type(message_of(message).content), bytes)

    def test_nothing_and_text_are_no_content(self) -> None:
        with self.assertRaises(ValueError):
            self.message().set_data(b"")
        with self.assertRaises(TypeError):
            self.message().set_data("text")  # type: ignore[arg-type]

    def test_pythons_own_parser_can_be_used_and_written_back(self) -> None:
        message = self.message(b"Subject: a\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhello\r\n")
        parsed = message.parse_mime()
        self.assertEqual((parsed["Subject"], parsed.get_content()), ("a", "hello\r\n"))
        parsed.set_content("other\n")
        self.assertIn(b"hello", message.get_data())
        message.set_data(bytes(parsed))
        self.assertIn(b"\r\n\r\nother\r\n", message.get_data())


class AbsentTests(PolicyCase):
    """What is not there says so."""

    def test_methods_of_later_versions(self) -> None:
        for name in ("shrink", "save"):
            with self.assertRaisesRegex(AttributeError, f"message.{name} is not implemented yet"):
                getattr(self.message(), name)

    def test_mistyped_ones(self) -> None:
        with self.assertRaisesRegex(AttributeError, 'message has no "get_metta", did you mean "get_meta"'):
            print(self.message().get_metta)

    def test_a_view_that_is_kept_until_the_message_waits_says_so(self) -> None:
        message = self.message(tenant="t")
        message_of(message).content = None
        self.assertEqual(message.get_meta("tenant"), "t")
        for use in (lambda: message.get_data(), lambda: message.get_first_named_header_value("X")):
            with self.assertRaises(ContentAway):
                use()
        message_of(message).shrink()
        for use in (lambda: message.get_meta("tenant"), lambda: message.sender, lambda: message.queue_name):
            with self.assertRaises(ContentAway):
                use()
        self.assertRegex(message.id, r"\A[0-9a-f]{32}\Z")
