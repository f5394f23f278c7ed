"""The shared automation daemon over HTTP, as the model's publishers and subscribers know it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kumotwist.api.endpoint import TAKEN_OVER, Call, Endpoint, Plain, Problem, text
from kumotwist.api.forms import settings_shown
from kumotwist.automation.board import Board, Conclusion
from kumotwist.automation.effects import Seen
from kumotwist.automation.rules import RuleBook
from kumotwist.config.egress import PathSettings
from kumotwist.config.http import TRUSTED, AccessRule, parse_rules
from kumotwist.dns.answers import LookupFailed
from kumotwist.dns.resolver import Resolver
from kumotwist.mail.queue_name import parse_queue_name
from kumotwist.mail.reply import INTERNAL, Reply

_HEARD = frozenset({"TransientFailure", "Bounce"})
_TRUSTED = parse_rules([{"allow": True, "criteria": {"Group": TRUSTED}, "privileges": ["GET", "POST"]}])
_PING = 30  # seconds of silence after which we ask whether somebody is still there
# Beside what holds for every server.
ACCESS: Mapping[str, tuple[AccessRule, ...]] = {
    **{f"http_listener/*/{path}": _TRUSTED for path in ("publish_log_v1", "get_config_v1", "get_suspension_v1", "get_bounce_v1")},
    **{f"http_listener/*/{path}": _TRUSTED for path in ("subscribe_event_v1", "subscribe_suspension_v1")},
    "http_listener/*/tsa/status": parse_rules([{"allow": True, "criteria": "Any", "privileges": ["GET"]}]),
}
_LEGACY = {"ReadyQSuspension": "ReadyQ", "SchedQSuspension": "SchedQ"}


class PublishedRecord(Struct, frozen=True, kw_only=True):
    """What automation needs of a log record; the rest is not looked at."""

    type: str
    recipient: str | list[str]
    queue: str
    site: str
    response: Reply
    timestamp: int
    egress_source: str | None = None
    event_time: str | None = None


def value_as_toml(name: str, value: Any) -> str:
    """A parameter of a path as a shaping file has it."""
    return _toml(settings_shown(PathSettings(**{name: value})).get(name))


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(str(key))} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return msgspec.json.encode(value).decode()  # JSON's strings, numbers and switches are TOML's, too


def seen_in(record: PublishedRecord) -> Seen | None:
    """None: it is nothing that rules are about."""
    first = record.recipient if isinstance(record.recipient, str) else next(iter(record.recipient), "")
    user, _, domain = first.rpartition("@")
    if record.type not in _HEARD or not domain or user.lower() == "postmaster":
        return None
    source = record.egress_source or ""
    at = float(record.timestamp)
    if record.event_time is not None:
        try:
            at = datetime.fromisoformat(record.event_time).timestamp()
        except ValueError:
            raise Problem(422, f"event_time: {record.event_time[:60]!r} is no instant") from None
    return Seen(
        line=record.response.single_line,
        domain=domain.lower(),
        queue=parse_queue_name(record.queue),
        path=record.site,
        source=source,
        site=record.site.removeprefix(f"{source}->").removesuffix("@smtp_client"),
        at=at,
        internal=record.response.text.startswith(INTERNAL),
    )


class SharedAutomation:
    """The endpoints, and who follows."""

    log = Logger()

    def __init__(
        self, reactor: Any, board: Board, resolver: Resolver, book: Callable[[], RuleBook], rollup: Callable[[], Any]
    ) -> None:
        """book, rollup: the rules, and the sites of their domains, as they are now."""
        self._reactor = reactor
        self._board = board
        self._resolver = resolver
        self._book = book
        self._rollup = rollup
        self._following: dict[Any, bool] = {}  # lines, and whether they want the old names
        self._factory: Any = None

    def endpoints(self) -> tuple[Endpoint, ...]:
        def get(path: str, summary: str, run: Callable[[Call], Any], kind: str = "text/plain") -> Endpoint:
            return Endpoint(method="GET", path=path, summary=summary, tag="automation", run=run, content_type=kind)

        return (
            Endpoint(
                method="POST",
                path="/publish_log_v1",
                summary="Take a log record into account",
                tag="automation",
                asks=PublishedRecord,
                run=self._publish,
            ),
            get("/get_config_v1/shaping.toml", "Parameters of paths that rules have set", self._overlay, "application/toml"),
            get("/get_suspension_v1/suspended.json", "What is suspended", self._suspended, "application/json"),
            get("/get_bounce_v1/bounced.json", "What is bounced", self._bounced, "application/json"),
            get("/subscribe_event_v1", "What stands and what comes: a WebSocket", lambda call: self._follow(call, legacy=False)),
            get("/subscribe_suspension_v1", "The same with old names", lambda call: self._follow(call, legacy=True)),
            get("/tsa/status", "Whether the daemon is there", lambda call: text("TSA Daemon OK")),
        )

    async def _publish(self, call: Call, record: PublishedRecord) -> Plain:
        seen = seen_in(record)
        if seen is not None:
            self._board.heard += 1
            hosts = await self._hosts(seen.queue.routed_to)
            domains = dict.fromkeys((seen.domain, seen.queue.routed_to.lower()))
            for scope in self._book().scopes(self._rollup(), domains=domains, site=seen.site, mx_hosts=hosts):
                for rule in scope.fitting(seen.line, internal=seen.internal):
                    self._tell(self._board.conclude(rule, seen, self._reactor.seconds()))
        return Plain(b"")

    async def _hosts(self, domain: str) -> tuple[str, ...]:
        try:
            found = self._resolver.destination(domain)
            destination = await found if isinstance(found, Deferred) else found
        except LookupFailed:
            return ()
        return tuple(host.name for group in destination.groups for host in group) if destination.is_mx else ()

    def _tell(self, concluded: list[Conclusion]) -> None:
        for one in concluded:
            self.log.info("{kind}: {facts}: {reason}", kind=one.kind, facts=one.facts, reason=one.reason)
            if one.kind != "Override":
                for line, legacy in list(self._following.items()):
                    _say(line, one.event(), legacy=legacy)

    def _now(self) -> float:
        now: float = self._reactor.seconds()
        return now

    def _overlay(self, call: Call) -> Plain:
        return Plain(self._board.overlay(self._now()).encode(), "application/toml")

    def _suspended(self, call: Call) -> Plain:
        found: dict[str, list[Any]] = {"ready_q": [], "sched_q": []}
        for event in self._board.events(self._now()):
            for kind, fields in event.items():
                if kind in _LEGACY:
                    found["ready_q" if kind == "ReadyQSuspension" else "sched_q"].append(fields)
        return _json(found)

    def _bounced(self, call: Call) -> Plain:
        events = self._board.events(self._now())
        return _json([event["SchedQBounce"] for event in events if "SchedQBounce" in event])

    def _follow(self, call: Call, *, legacy: bool) -> Plain:
        if call.headers.get("upgrade", "").lower() != "websocket" or call.request.channel.transport is None:
            raise Problem(426, "expected a WebSocket handshake", {"Upgrade": "websocket"})
        if "origin" in call.headers:
            raise Problem(403, "pages of other sites may not watch")  # a browser lets any page connect anywhere
        # Made when the first one comes: autobahn takes half a second to load.
        from autobahn.twisted.resource import WebSocketResource

        from kumotwist.api.subscribing import SubscriberFactory

        factory = SubscriberFactory(self._reactor, _PING)
        factory.begin = lambda line: self._begin(line, legacy=legacy)
        resource: Any = WebSocketResource(factory)  # type: ignore[no-untyped-call]  # autobahn is not annotated
        call.request.channel.setTimeout(None)
        resource.render(call.request)
        return TAKEN_OVER

    def _begin(self, line: Any, *, legacy: bool) -> Callable[[], None]:
        """In one turn, so that nothing comes between what stands and what follows."""
        self._following[line] = legacy
        for event in self._board.events(self._now()):
            _say(line, event, legacy=legacy)

        def end() -> None:
            self._following.pop(line, None)

        return end


def _say(line: Any, event: dict[str, Any], *, legacy: bool) -> None:
    if legacy:
        event = {_LEGACY[kind]: fields for kind, fields in event.items() if kind in _LEGACY}
    if event:
        line.say(msgspec.json.encode(event))


def _json(value: Any) -> Plain:
    return Plain(msgspec.json.encode(value), "application/json")
