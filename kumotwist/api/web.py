"""
One HTTP request on its way: received within bounds, its client known, allowed, read, answered.

The wire is Twisted's: keep-alive, pipelining, chunks and time limits are its business.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.http import HTTPChannel, HTTPFactory, Request

from kumotwist.api import access
from kumotwist.api.endpoint import TAKEN_OVER, Call, Endpoint, Endpoints, Plain, Problem
from kumotwist.api.login import Doors
from kumotwist.api.reading import TOO_LARGE, arguments, unpacked
from kumotwist.config.fields import BadValue
from kumotwist.config.http import HttpListenerSettings, parse_rules
from kumotwist.hooks.connection import AuthInfo
from kumotwist.hooks.policy import HookFailed, Policy
from kumotwist.mail.reply import Refusal

IDLE = 60  # seconds after which a silent client is closed
MOST_CONNECTIONS = 4096  # of one listener
_LARGE = 64 * 1024  # octets of a packed body that is unpacked in a thread
_LARGE = 64 * 1024  # octets of a packed body that is unpacked in a thread
_DRAINED = 16 * 1024 * 1024  # octets beyond the limit that are read and dropped, so that the client hears why
_EVENT = "get_acl_definition"

_PHRASES = {422: b"Unprocessable Content"}  # Twisted does not know it

_encode = msgspec.json.Encoder().encode


class Web:
    """
    What all requests share.

    policy, find_rules: what holds now, looked up for each request.  hostname: the server's.
    """

    log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        endpoints: Endpoints,
        doors: Doors,
        policy: Callable[[], Policy],
        find_rules: Callable[[], access.Find],
        hostname: Callable[[], str],
        in_thread: "Callable[..., Deferred[Any]]",
    ) -> None:
        self._in_thread = in_thread
        self.clock = clock
        self.endpoints = endpoints
        self.doors = doors
        self.policy = policy
        self.find_rules = find_rules
        self.hostname = hostname

    async def answer(self, call: Call, authorization: str | None, encoding: str) -> Plain:
        """What a client is told.  Never raises: a fault of ours is logged, and a 500."""
        try:
            call.auth = await self.doors.proved(call.peer, authorization, call.settings)
            await self._allow(call)
            endpoint = self.endpoints.find(call.method, call.path)
            limit = max(call.settings.request_body_limit, endpoint.body_limit)
            if encoding and len(call.body) > _LARGE:
                call.body = await self._in_thread(unpacked, call.body, encoding, limit)
            else:
                call.body = unpacked(call.body, encoding, limit)
            return await self._run(endpoint, call)
        except Problem as problem:
            return _told(problem)
        except Exception:  # noqa: BLE001  whatever an endpoint does wrong, the client gets an answer and the log a traceback
            self.log.failure("{method} {path} failed", method=call.method, path=call.path)
            return _told(Problem(500, "internal error; the server's log says more"))

    async def _allow(self, call: Call) -> None:
        """Raises Problem where the client may not do this."""
        decision = await self._decision(call)
        if not decision.allowed:
            how = "denied" if decision.explicit else "not permitted"
            method = "GET" if call.method == "HEAD" else call.method[:20]
            raise Problem(401, f"{access.shown(call.auth)} {how} {method} on {decision.resource[:300]}")

    async def _decision(self, call: Call) -> access.Decision:
        find = self.find_rules()
        method = "GET" if call.method == "HEAD" else call.method
        first = None
        for resource in access.resources(call.settings.listen, call.path):
            first = first or resource
            rules = await self._rules_of_policy(resource)
            if rules is None:
                rules = find(resource)
            found = access.judged(rules, method, call.auth) if rules is not None else None
            if found is not None:
                return access.Decision(found, True, resource)
        return access.Decision(False, False, first or "http_listener")

    async def _rules_of_policy(self, resource: str) -> access.Rules | None:
        policy = self.policy()
        if _EVENT not in policy:
            return None
        try:
            answer: Any = policy.first(_EVENT, resource)
            if isinstance(answer, Deferred):
                answer = await answer
            return None if answer is None else parse_rules(answer)
        except (HookFailed, Refusal, BadValue) as fault:
            self.log.error("{event}: {resource}: {fault}", event=_EVENT, resource=resource, fault=str(fault))
            raise Problem(500, "try again later") from None

    async def _run(self, endpoint: Endpoint, call: Call) -> Plain:
        given = arguments(endpoint, call)
        answer: Any = endpoint.run(call, *given)
        if hasattr(answer, "__await__"):
            answer = await answer
        if isinstance(answer, Plain):
            return answer
        if answer is None:
            return Plain(b"")
        return Plain(_encode(answer), "application/json")


def _told(problem: Problem) -> "Refused":
    return Refused(_encode({"error": problem.text}), "application/json", problem.code, tuple(problem.headers.items()))


class Refused(Plain, frozen=True):
    """A Problem as it goes out."""

    headers: tuple[tuple[str, str], ...] = ()


class ApiRequest(Request):
    """One request of Twisted's, with a bound on its body, answered by `Web`."""

    content: Any
    channel: Any
    getClientAddress: Callable[[], Any]  # noqa: N815  Twisted's, which are not annotated; so the following
    getHost: Callable[[], Any]  # noqa: N815
    setHeader: Callable[[str, str], None]  # noqa: N815
    write: Callable[[bytes], None]
    finish: Callable[[], None]
    _received = 0
    _too_large = False
    _limit = 0

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._parsePOSTFormSubmission = False  # forms are none of ours, and finding that out costs more than all the rest

    def gotLength(self, length: int | None) -> None:
        """In memory: the bound makes that safe, and a temporary file would make the reactor wait for a disk."""
        self.content = BytesIO()
        site = self._site
        self._limit = site.settings.request_body_limit
        peer = self.getClientAddress()
        if peer is not None and _address(getattr(peer, "host", "")) in site.settings.trusted_hosts:
            path = getattr(self.channel, "_path", b"").partition(b"?")[0]  # the request itself learns it when all has come
            self._limit = max(self._limit, site.web.endpoints.body_limit(path.decode("latin-1")))

    def handleContentChunk(self, data: bytes) -> None:
        self._received += len(data)
        limit = self._limit
        if self._received <= limit:
            self.content.write(data)
        else:
            self._too_large = True
            if self._received > limit + _DRAINED:
                self.channel.forceAbortClient()

    @property
    def _site(self) -> "ApiSite":
        site: ApiSite = self.channel.factory
        return site

    def process(self) -> None:
        """All of it has come."""
        self._said = Deferred.fromCoroutine(self._answered())
        self._said.addErrback(lambda failure: Web.log.failure("an answer could not be sent", failure))

    async def _answered(self) -> None:
        site = self._site
        site.begun(self)
        try:
            call = self._call(site)
            if self._too_large:
                answer: Plain = _told(Problem(413, TOO_LARGE, {"Connection": "close"}))
            else:
                answer = await site.web.answer(call, self.getHeader("authorization"), self.getHeader("content-encoding") or "")
            if answer is not TAKEN_OVER and not self._disconnected:
                self._say(answer)
        finally:
            site.ended(self)

    def _call(self, site: "ApiSite") -> Call:
        path, _, query = self.uri.partition(b"?")
        body = self.content.getvalue() if isinstance(self.content, BytesIO) else b""
        peer, local = self.getClientAddress(), self.getHost()
        return Call(
            auth=AuthInfo(),
            peer=_address(getattr(peer, "host", "")),
            local=_address(getattr(local, "host", "")),
            hostname=site.settings.hostname or site.web.hostname(),
            settings=site.settings,
            method=self.method.decode("latin-1"),
            path=unquote(path.decode("latin-1")),
            query=dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)),
            headers={name.decode("latin-1").lower(): values[-1].decode("latin-1")
                     for name, values in self.requestHeaders.getAllRawHeaders()},
            body=body,
            request=self,
        )  # fmt: skip

    def _say(self, answer: Plain) -> None:
        self.setResponseCode(answer.code, _PHRASES.get(answer.code))
        if answer.octets or answer.code == 200:
            self.setHeader("Content-Type", answer.content_type)
        for name, value in answer.headers if isinstance(answer, Refused) else ():
            self.setHeader(name, value)
        self.setHeader("Content-Length", str(len(answer.octets)))
        self.setHeader("Server", "KumoTwist")
        if self.method != b"HEAD":
            self.write(answer.octets)
        self.finish()


def _address(host: str) -> str:
    """An IPv4 address in IPv6 clothes, as a dual-stack socket shows it, is IPv4."""
    return host.removeprefix("::ffff:") if host.startswith("::ffff:") and "." in host else host


class ApiSite(HTTPFactory):
    """One listener's factory.  settings: may be replaced; holds for the requests that come then."""

    noisy = False

    def __init__(self, web: Web, settings: HttpListenerSettings, reactor: Any) -> None:
        super().__init__(timeout=IDLE, reactor=reactor)
        self.web = web
        self.settings = settings
        self.connections = 0
        self._at_work: set[ApiRequest] = set()
        self._idle: Deferred[None] | None = None

    def buildProtocol(self, addr: Any) -> Any:
        if self.connections >= MOST_CONNECTIONS:
            return None
        protocol: Any = super().buildProtocol(addr)
        protocol.requestFactory = ApiRequest
        return protocol

    def begun(self, request: ApiRequest) -> None:
        self._at_work.add(request)

    def ended(self, request: ApiRequest) -> None:
        self._at_work.discard(request)
        if not self._at_work and self._idle is not None and not self._idle.called:
            self._idle.callback(None)

    def idle(self) -> "Deferred[None]":
        """Fires when every request that has begun was answered."""
        self._idle = Deferred()
        if not self._at_work:
            self._idle.callback(None)
        return self._idle

    def log(self, request: Any) -> None:
        """No line for each request: what became of mail is in the mail log."""

    def startFactory(self) -> None:
        """Nothing: the parent class would open a log file."""

    def stopFactory(self) -> None:
        """Nothing."""


__all__ = ["ApiRequest", "ApiSite", "HTTPChannel", "Web"]
