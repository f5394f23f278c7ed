"""
The HTTP face of the server: injection, what an operator can ask for, and the listeners for both.

`Serving.endpoints` is the table; a stage that has something to offer adds to it before the listeners open.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from kumotwist.api.access import finder
from kumotwist.api.description import describe
from kumotwist.api.endpoint import Call, Endpoint, Endpoints, Plain, Problem, text
from kumotwist.api.inject import inject_endpoint
from kumotwist.api.login import Doors
from kumotwist.api.machine import MachineInfoV1, this_machine
from kumotwist.api.service import HttpListener
from kumotwist.api.suppression import suppression_endpoints
from kumotwist.api.web import Web
from kumotwist.config.http import HttpListenerSettings
from kumotwist.config.keys import KeyEvent
from kumotwist.config.server import Config
from kumotwist.custody import Custody
from kumotwist.egress.throttles import Throttles
from kumotwist.injection.generator import Generator
from kumotwist.injection.idempotency import Keys
from kumotwist.injection.service import Injection, InThread
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from kumotwist.reception.shared import Reception
from kumotwist.spool.service import Spool
from kumotwist.suppression.service import Suppression
from kumotwist.transport import Bound

DESCRIPTIONS = ("/openapi.json", "/api-docs/openapi.json")


class Around(Struct, frozen=True, kw_only=True):
    """
    What the HTTP face needs of the server.

    randbits: chance that nobody can guess.  bump: has the configuration read again.  ask_policy: for keys that it keeps.
    bound: sockets that are bound already.
    """

    reactor: Any
    ids: MessageIds
    randbits: Callable[[int], int]
    custody: Custody
    spool: Spool
    reception: Reception
    throttles: Throttles
    suppression: Suppression
    in_thread: InThread
    node_id: str
    bump: Callable[[], object]
    ask_policy: Callable[[KeyEvent], Any]
    bound: Bound | None = None


class Serving:
    """listeners: by `ip:port` as configured, while they listen."""

    def __init__(self, around: Around) -> None:
        reactor: IReactorTime = around.reactor
        self._around = around
        self._began = reactor.seconds()
        self._machine: MachineInfoV1 | None = None
        self._find = finder({})
        self.listeners: dict[str, HttpListener] = {}
        reception = around.reception
        self.injection = Injection(
            clock=reactor,
            ids=around.ids,
            randbits=around.randbits,
            desk=around.custody,
            keys=Keys(around.spool.shelved, reactor.seconds),
            standing=lambda: reception.standing,
            hostname=lambda: reception.hostname,
            in_thread=around.in_thread,
            throttles=around.throttles,
            suppressed=around.suppression.listed,
        )
        self.generator = Generator(
            clock=reactor,
            injection=self.injection,
            ledger=around.custody,
            load=around.spool.load,
            shelved=around.spool.shelved,
            standing=lambda: reception.standing,
            hostname=lambda: reception.hostname,
            in_thread=around.in_thread,
        )
        suppressing = suppression_endpoints(around.suppression, reactor, around.in_thread)
        self.endpoints = Endpoints(self._own(), (inject_endpoint(self.injection),), suppressing)
        self._web = Web(
            clock=reactor,
            endpoints=self.endpoints,
            doors=Doors(reactor, lambda: reception.policy, around.randbits(256).to_bytes(32, "big")),
            policy=lambda: reception.policy,
            find_rules=lambda: self._find,
            hostname=lambda: reception.hostname,
            in_thread=around.in_thread,
        )

    def start(self) -> None:
        """Before anything is admitted or listens."""
        self.injection.start()

    def admits(self, message: Message) -> bool:
        """Takes a message that is for us: a request to be generated; False: it is mail, and its queue's."""
        if not self.generator.wants(message):
            return False
        self.generator.admit(message)
        return True

    def listen(self, config: Config) -> None:
        """Listen where the configuration says, and nowhere else.  Raises CannotListen."""
        self._find = finder(config.access_control)
        wanted: Mapping[str, HttpListenerSettings] = {one.listen: one for one in config.http_listeners}
        for listen in list(self.listeners):
            other = wanted.get(listen)
            if other is None or other.use_tls is not self.listeners[listen].settings.use_tls:
                self.listeners.pop(listen).stopService()
        for listen, settings in wanted.items():
            if listen in self.listeners:
                self.listeners[listen].settings = settings
                continue
            around = self._around
            certificates = around.reception.certificates
            listener = HttpListener(settings, self._web, certificates, around.reactor, around.ask_policy, bound=around.bound)
            listener.startService()
            self.listeners[listen] = listener

    def stop(self) -> "Deferred[Any]":
        """Answer what was asked, and take no more."""
        ends = [self.injection.stop(), self.generator.stop()]
        return DeferredList([*ends, *(one.stopService() for one in self.listeners.values())], consumeErrors=True)

    # What it can be asked itself

    def _own(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                method="GET",
                path="/api/check-liveness/v1",
                summary="Whether mail is taken now, for load balancers",
                tag="liveness",
                run=self._live,
            ),
            Endpoint(
                method="GET",
                path="/api/machine-info",
                summary="What machine this is",
                tag="debugging",
                answers=MachineInfoV1,
                run=self._machine_now,
            ),
            Endpoint(
                method="POST",
                path="/api/admin/bump-config-epoch",
                summary="Read the configuration again",
                tag="config",
                run=self._bump,
            ),
            *(self._description(path) for path in DESCRIPTIONS),
        )

    def _description(self, path: str) -> Endpoint:
        return Endpoint(
            method="GET",
            path=path,
            summary="This description",
            run=lambda call: describe(self.endpoints),
            answers=dict[str, Any],
        )

    def _live(self, call: Call) -> Plain:
        closed = self.injection.closed_for()
        return text("OK") if closed is None else text(closed.replace("disk is too full", "storage is too full"), 503)

    async def _machine_now(self, call: Call) -> MachineInfoV1:
        if self._machine is None:
            self._machine = await self._around.in_thread(this_machine, self._around.node_id, self._began)
        if self._machine is None:
            raise Problem(503, "not known yet")
        return self._machine

    def _bump(self, call: Call) -> None:
        self._around.bump()
