"""Logins: who guesses waits, what was proved is kept for a while, and no log has a password."""

from base64 import b64encode
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.api.endpoint import Problem
from kumotwist.api.login import Doors, parse
from kumotwist.config.http import TRUSTED, HttpListenerSettings
from kumotwist.hooks.connection import AuthInfo
from kumotwist.hooks.policy import Handler, Policy

PEER = "203.0.113.9"


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


class DoorsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[str, ...]] = []
        self.said: list[Any] = []
        hear: Any = self.said.append
        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)

        def check(user: str, password: str) -> bool:
            self.asked.append((user, password))
            return password == "tiger"

        def token(given: str) -> bool:
            return given == "t0ken"

        found = {
            "http_server_validate_auth_basic": (Handler(check, 2, "p.py:1"),),
            "http_server_validate_auth_bearer": (Handler(token, 1, "p.py:2"),),
        }
        policy = Policy(found, self.clock)
        self.doors = Doors(self.clock, lambda: policy, b"secret")

    def prove(self, authorization: str | None, peer: str = PEER) -> "Deferred[AuthInfo]":
        return Deferred.fromCoroutine(self.doors.proved(peer, authorization, HttpListenerSettings()))

    def refused(self, asked: "Deferred[AuthInfo]") -> int:
        problem: Problem = self.failureResultOf(asked, Problem).value
        return problem.code

    def test_each_wrong_password_in_a_row_waits_longer_for_its_answer(self) -> None:
        for wait in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
            asked = self.prove(basic("daniel", "tigre"))
            self.clock.advance(wait - 0.1)
            self.assertNoResult(asked)
            self.clock.advance(0.2)
            self.assertEqual(self.refused(asked), 401)

    def test_a_failure_is_logged_with_the_name_and_without_the_password(self) -> None:
        asked = [self.prove(basic("daniel", "s3cret-word")), self.prove("Bearer wr0ng-token")]
        self.clock.advance(60)
        self.assertEqual([self.refused(one) for one in asked], [401, 401])
        lines = [str(event) for event in self.said if "wrong credential" in str(event.get("log_format"))]
        self.assertEqual(["daniel" in line for line in lines], [True, False])
        self.assertEqual([PEER in line for line in lines], [True, True])
        told = str(self.said)
        self.assertEqual([word in told for word in ("s3cret-word", "wr0ng-token")], [False, False])

    def test_a_trusted_address_with_a_wrong_password_is_refused_too(self) -> None:
        asked = self.prove(basic("daniel", "tigre"), "127.0.0.1")
        self.clock.advance(1)
        self.assertEqual(self.refused(asked), 401)

    def test_what_was_proved_is_kept_for_a_minute(self) -> None:
        for advance, times in ((0, 1), (59, 1), (2, 2)):
            self.clock.advance(advance)
            self.successResultOf(self.prove(basic("daniel", "tiger")))
            self.assertEqual(len(self.asked), times)

    def test_who_a_client_is(self) -> None:
        table = (
            (None, PEER, (), ()),
            (None, "127.0.0.1", (), (TRUSTED,)),
            (basic("daniel", "tiger"), PEER, ("daniel",), ()),
            (basic("daniel", "tiger"), "127.0.0.1", ("daniel",), (TRUSTED,)),
            ("bearer t0ken", PEER, ("token",), ()),
        )
        for authorization, peer, identities, groups in table:
            with self.subTest((authorization, peer)):
                found = self.successResultOf(self.prove(authorization, peer))
                self.assertEqual((tuple(one.identity for one in found.identities), found.groups), (identities, groups))

    def test_what_is_no_credential_is_a_bad_request(self) -> None:
        for given in ("", "Basic", "Basic %%%", "Basic " + b64encode(b"nocolon").decode(), "Digest x", "Bearer "):
            with self.subTest(given):
                problem: Problem = self.assertRaises(Problem, parse, given)
                self.assertEqual(problem.code, 400)
