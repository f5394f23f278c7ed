"""What other nodes' conclusions lead to here: events, and parameters of paths."""

from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.automation.following import Following, with_publishing
from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Limit, Rate
from kumotwist.config.log_hooks import WebhookHook
from kumotwist.config.server import Config
from kumotwist.config.shaping import ShapingSettings
from kumotwist.egress.path import Destination
from kumotwist.logs.record import rfc3339
from tests.automation.support import ReactingHouse

PATH = "unspecified->mx.example.org@smtp_client"
OVERLAY = """
["example.org"]
mx_rollup = true
["example.org".sources."ip-1"]
connection_limit = 1
additional_connection_limits = {b = 2}
["own.example"]
mx_rollup = false
["own.example".sources."ip-1"]
max_message_rate = "1/min"
"""


class FollowingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = ReactingHouse(ShapingSettings())
        self.changes = 0
        site = Destination(domain="", site="the site", groups=())
        resolver: Any = type("Sites", (), {"destination": staticmethod(lambda _: succeed(site))})()
        self.following = Following(self.house.clock, self.house.automation.effects, resolver, self.changed)

    def changed(self) -> None:
        self.changes += 1

    def hear(self, kind: str, lasts: float = 60.0, **facts: Any) -> None:
        expires = rfc3339(self.house.clock.seconds() + lasts)
        event = {kind: {"rule_hash": "0123", "reason": "421 slow", "expires": expires, **facts}}
        self.following.hear(msgspec.json.encode(event))

    def learn(self, text: str, url: str = "http://a") -> None:
        self.successResultOf(Deferred.fromCoroutine(self.following.learn(url, text)))

    def test_events_become_orders_that_end_in_time(self) -> None:
        self.hear("ReadyQSuspension", site_name=PATH, source="unspecified")
        self.hear("SchedQSuspension", tenant="t", domain="example.org", campaign=None)
        self.hear("SchedQBounce", tenant=None, domain="example.net", campaign=None)
        administration = self.house.scheduler.administration
        self.assertEqual([name for name, _ in self.house.suspended()], [PATH])
        self.assertEqual([one.order.criteria.parts[:2] for one in administration.suspensions()], [("example.org", "t")])
        self.assertEqual([one.order.criteria.parts[:2] for one in administration.bounces()], [("example.net", None)])
        self.house.run(61)
        self.assertEqual((self.house.suspended(), administration.suspensions(), administration.bounces()), ([], [], []))

    def test_what_has_expired_or_is_about_nothing_leads_to_nothing(self) -> None:
        self.hear("ReadyQSuspension", lasts=-1.0, site_name=PATH)
        self.hear("ReadyQSuspension")
        self.hear("SchedQBounce")  # no domain would be all mail
        self.hear("Another", domain="example.org")
        for frame in (b"", b"{", b"[]", b'{"SchedQBounce": {}}', b"\xff"):
            self.following.hear(frame)
        self.assertEqual((self.house.suspended(), self.house.scheduler.administration.bounces()), ([], []))

    def over(self, domain: str, site: str, source: str = "ip-1") -> PathSettings:
        given = PathSettings(additional_connection_limits={"a": Limit(1)})
        return self.following.over(given, source, site, domain)

    def test_parameters_hold_for_source_and_site_or_domain(self) -> None:
        self.learn(OVERLAY)
        found = self.over("alias.example", "the site")
        self.assertEqual(found.connection_limit, Limit(1))
        self.assertEqual(found.additional_connection_limits, {"a": Limit(1), "b": Limit(2)})
        self.assertIsNone(found.max_message_rate, "own.example has that site, too, but its rule is its own")
        self.assertEqual(self.over("own.example", "elsewhere").max_message_rate, Rate(1, 60.0))
        self.assertEqual(self.over("other.example", "elsewhere").connection_limit, Limit(32))
        self.assertEqual(self.over("alias.example", "the site", "ip-2").connection_limit, Limit(32))

    def test_what_was_said_holds_until_something_else_is_said(self) -> None:
        self.learn(OVERLAY)
        self.learn("# the same again\n" + OVERLAY)
        self.learn("[[ broken")
        self.learn('["example.org".sources."ip-1"]\nconnection_limit = "many"\n')
        self.assertEqual((self.over("example.org", "the site").connection_limit, self.changes), (Limit(1), 1))
        self.learn("# Number of entries: 0\n")
        self.assertEqual((self.over("example.org", "the site").connection_limit, self.changes), (Limit(32), 2))

    def test_a_daemon_is_told_of_failures_one_by_one(self) -> None:
        config = Config(hostname="a.example", shaping=ShapingSettings(publish=("http://127.0.0.1:8008/",)))
        (hook,) = with_publishing(config).log_hooks
        assert isinstance(hook, WebhookHook)
        self.assertEqual((hook.url, hook.batch_size), ("http://127.0.0.1:8008/publish_log_v1", 1))
        self.assertEqual(hook.record_types, ("TransientFailure", "Bounce"))
