"""Which requests are made at once, on the reactor's thread, and how portions end."""

from typing import Any

import msgspec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.injection.generation import MOST_IN_PORTION, Generation, is_quick
from kumotwist.injection.request import read_request
from kumotwist.injection.templates import Templates
from tests.injection.support import request

BUILT = {"text_body": "Dear {{ name or 'customer' }}, {{ code }}", "subject": "Hi {{- person.name -}} {{x}}"}
ATTACHED = {"data": "x", "content_type": "text/plain"}

# What a request has beside the usual → whether it is made at once.
QUICK: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"content": BUILT}, True),
    ({"content": BUILT | {"attachments": [ATTACHED] * 2}}, True),
    ({"content": BUILT | {"attachments": [ATTACHED] * 3}}, False),
    ({"content": BUILT | {"headers": {f"X-{n}": "x" for n in range(21)}}}, False),
    ({"content": BUILT | {"headers": {"X-Loop": "{% for x in y %}{% endfor %}"}}}, False),
    ({"content": BUILT | {"html_body": "{{ x|upper }}"}}, False),
    ({"content": BUILT | {"html_body": "{{ x() }}"}}, False),
    ({"content": BUILT | {"html_body": "{{ x * 9 }}"}}, False),
    ({"content": BUILT | {"html_body": "{{ '}}' ~ x }}"}}, False),
    ({"content": BUILT | {"amp_html_body": "{{ x }}" * 21}}, False),
    ({"content": BUILT | {"text_body": "{{ x|upper }}"}, "template_dialect": "Static"}, True),
    ({"content": "Subject: x\n\nGrüße"}, False),
    ({"content": "Subject: x\nContent-Type: Multipart/mixed; boundary=b\n\n--b--"}, False),
    ({"content": "Subject: x\n\n" + "x" * 9000}, False),
]


class QuickTests(SynchronousTestCase):
    def quick(self, given: dict[str, Any]) -> bool:
        body = msgspec.json.encode(given)
        return is_quick(body, read_request(body))

    def test_what_is_small_and_plain_is_made_at_once(self) -> None:
        for more, quick in QUICK:
            with self.subTest(str(more)[:100]):
                self.assertIs(self.quick(request(**more)), quick)

    def test_many_recipients_are_made_in_a_thread(self) -> None:
        self.assertEqual([self.quick(request(*["a@x.example"] * count)) for count in (4, 5)], [True, False])

    def test_letters_that_hide_behind_escapes_are_seen(self) -> None:
        body = msgspec.json.encode(request()).replace(b"Hello", b"\\u0047r\\u00fc\\u00dfe")
        self.assertFalse(is_quick(body, read_request(body)))


class PortionTests(SynchronousTestCase):
    def test_a_portion_ends_with_its_number_its_time_or_its_octets(self) -> None:
        table = ((0.0, "x", MOST_IN_PORTION), (0.004, "x", 3), (0.0, "x" * 500_000, 3), (1.0, "x", 1))
        for each, text, count in table:
            with self.subTest((each, len(text))):
                clock = Clock()

                def seconds(clock: Clock = clock, each: float = each) -> float:
                    clock.advance(each / 2)
                    return clock.seconds()

                body = msgspec.json.encode(
                    request(*["a@x.example"] * 50, content=f"Subject: x\n\n{text}\n", template_dialect="Static")
                )
                asked = read_request(body)
                generation = Generation(asked, Templates(seconds), lambda bits: 1, seconds)
                self.assertEqual(len(generation.portion(asked.recipients)), count)
