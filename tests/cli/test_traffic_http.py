"""A load over HTTP: what is asked, and how answers are counted."""

import json

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.traffic_http import HttpTrafficWire, answer, request
from kumotwist.cli.traffic_mail import Letter


def told(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


TAKEN = told(b'{"success_count":1,"fail_count":0,"failed_recipients":[],"errors":[]}')


class FakeLane:
    def __init__(self, count: int) -> None:
        self.letters = [Letter(b"id-%d" % n, b"r%d@x.example" % n, b"Subject: x\r\n\r\nbody\r\n.\r\n") for n in range(count)]
        self.replies: list[bytes] = []
        self.end: tuple[Letter | None, bool, str] | None = None

    def next_letter(self) -> Letter | None:
        return self.letters.pop(0) if self.letters else None

    def answered(self, letter: Letter, reply: bytes) -> None:
        self.replies.append(reply)

    def ended(self, letter: Letter | None, greeted: bool, why: str) -> None:
        self.end = (letter, greeted, why)


class HttpTrafficTests(SynchronousTestCase):
    def connect(self, lane: FakeLane) -> tuple[HttpTrafficWire, StringTransport]:
        wire = HttpTrafficWire(lane, Clock().seconds, sender=b"a@x.example", host=b"mta:8000")
        transport = StringTransport()
        wire.makeConnection(transport)
        return wire, transport

    def test_each_message_is_one_request(self) -> None:
        head, _, body = request(FakeLane(1).letters[0], b"a@x.example", b"mta:8000").partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"POST /api/inject/v1 HTTP/1.1\r\nHost: mta:8000\r\n"))
        self.assertIn(b"Content-Length: %d" % len(body), head)
        asked = json.loads(body)
        self.assertEqual((asked["recipients"], asked["content"]), ([{"email": "r0@x.example"}], "Subject: x\r\n\r\nbody\r\n"))

    def test_the_next_goes_out_when_the_last_is_answered_however_the_answer_is_cut(self) -> None:
        lane = FakeLane(2)
        wire, transport = self.connect(lane)
        for n in range(len(TAKEN)):
            wire.dataReceived(TAKEN[n : n + 1])
        self.assertEqual((lane.replies, transport.value().count(b"POST ")), ([b"250 OK"], 2))
        wire.dataReceived(TAKEN)
        self.assertTrue(transport.disconnecting)
        wire.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(lane.end, (None, True, ""))

    def test_what_answers_mean(self) -> None:
        table = {
            TAKEN: b"250 OK",
            told(b'{"success_count":0,"fail_count":1,"failed_recipients":["r"],"errors":["r: no"]}'): b"550 r: no",
            told(b'{"error":"x"}', b"503 Service Unavailable"): b'451 HTTP 503 Service Unavailable: {"error":"x"}',
            told(b'{"error":"x"}', b"401 Unauthorized"): b'550 HTTP 401 Unauthorized: {"error":"x"}',
        }
        self.assertEqual({octets: (answer(octets) or (b"",))[0] for octets in table}, table)

    def test_a_message_without_an_answer_is_told(self) -> None:
        lane = FakeLane(1)
        wire, _ = self.connect(lane)
        wire.connectionLost(Failure(ConnectionDone()))
        assert lane.end is not None
        self.assertEqual((lane.end[0] is not None, lane.end[1:]), (True, (False, "the server closed the connection")))
