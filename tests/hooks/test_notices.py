"""`kumo.generate_rfc3464_message` as a policy calls it."""

import re
from pathlib import Path
from typing import Any

from kumotwist import kumo
from kumotwist.hooks.initial import run_init
from kumotwist.hooks.message import PolicyMessage
from tests.hooks.around import PolicyCase
from tests.reports.test_notice import record

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bounces.md"
PARAMS: dict[str, Any] = {"reporting_mta": {"mta_type": "dns", "name": "mta1.example.com"}, "enable_bounce": True}


class NoticeTests(PolicyCase):
    def setUp(self) -> None:
        super().setUp()
        self.use_services()

    def test_the_report_can_be_injected(self) -> None:
        notice = kumo.generate_rfc3464_message(PARAMS, None, record())
        assert notice is not None
        self.successResultOf(kumo.inject_message(notice))
        (sent,) = self.injected
        self.assertEqual((sent.sender.email, sent.recipients[0].email, sent.queue), ("", "news@shop.example", "shop.example"))
        self.assertIn(b"Final-Recipient: rfc822; ann@example.net\r\n", sent.content or b"")

    def test_none_is_due_for_a_delivery_or_the_null_sender(self) -> None:
        for facts in ({"type": "Delivery"}, {"sender": ""}):
            self.assertIsNone(kumo.generate_rfc3464_message(PARAMS, None, record(**facts)))

    def test_the_message_itself_goes_back_where_it_is_wanted(self) -> None:
        original = kumo.make_message("news@shop.example", "ann@example.net", "Subject: This week\n\nHello\n")
        notice = kumo.generate_rfc3464_message({**PARAMS, "include_original_message": "FullContent"}, original, record())
        assert notice is not None
        self.assertIn(b"Subject: This week\r\n", notice.get_data())

    def test_parameters_that_are_wrong(self) -> None:
        table: list[tuple[dict[str, Any], str]] = [
            ({"enable_bounces": True}, "unknown key 'enable_bounces', did you mean 'enable_bounce'"),
            ({"enable_bounce": "yes"}, "enable_bounce: 'yes', expected True or False"),
            ({"include_original_message": "All"}, "include_original_message: expected one of No, HeadersOnly, FullContent"),
            ({"reporting_mta": "mta1"}, "reporting_mta: expected a mapping"),
        ]
        for given, said in table:
            with self.assertRaisesRegex(ValueError, said):
                kumo.generate_rfc3464_message({**PARAMS, **given}, None, record())

    def test_the_policy_of_the_page_tells_senders_what_bounced(self) -> None:
        found = re.search(r"^```python notices\.py\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        assert found is not None
        policy = self.load(found[1])
        self.successResultOf(run_init(policy))
        for facts in ({}, {"type": "Delivery"}, {"sender": ""}):
            message = self.messages.make()
            message.meta["log_record"] = record(**facts)
            asked = policy.first("should_enqueue_log_record", PolicyMessage(message), "notices")
            self.assertIs(asked if isinstance(asked, bool) else self.successResultOf(asked), False)
        (sent,) = self.injected
        self.assertEqual((sent.sender.email, sent.recipients[0].email), ("", "news@shop.example"))
