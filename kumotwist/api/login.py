"""
Who a client is: its address, and what it proves with a user name and password or a token.

A credential that is wrong is refused also from a trusted address, after a wait that grows with each failure; nothing of it
gets into the log but the name.  What the policy answered is kept for a minute, so that it is not asked with every request.
"""

from base64 import b64decode
from binascii import Error as NotBase64
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as NotInTime
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from kumotwist.api.endpoint import Problem
from kumotwist.config.http import TRUSTED, HttpListenerSettings
from kumotwist.hooks.connection import AuthInfo, Identity
from kumotwist.hooks.policy import HookFailed, Policy
from kumotwist.mail.reply import Refusal
from kumotwist.reception.intake import shown

BASIC, BEARER = "HttpBasicAuth", "BearerToken"
KEPT = 60.0  # seconds
PATIENCE = 60.0  # seconds that the policy may take
_MOST_KEPT = 128
_MOST_PEERS = 10_000
_FORGIVEN = 60.0  # seconds after which a client's failures count no more
_LONGEST_WAIT = 10.0

_EVENTS = {BASIC: "http_server_validate_auth_basic", BEARER: "http_server_validate_auth_bearer"}


class Credential(Struct, frozen=True):
    """What a client says.  said: the arguments of the event."""

    context: str
    said: tuple[str, ...]

    def __repr__(self) -> str:
        return "Credential(…)"

    @property
    def name(self) -> str:
        """Who it claims to be; a token says nothing that could be shown."""
        return self.said[0] if self.context == BASIC else "a token"


class Doors:
    """The logins of all listeners."""

    log = Logger()

    def __init__(self, clock: IReactorTime, policy: Callable[[], Policy], secret: bytes) -> None:
        """secret: what credentials are hashed with, so that memory has none of them."""
        self._clock = clock
        self._policy = policy
        self._secret = secret
        self._kept: OrderedDict[tuple[int, bytes], tuple[float, AuthInfo | None]] = OrderedDict()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def proved(self, peer: str, authorization: str | None, settings: HttpListenerSettings) -> AuthInfo:
        """Who asks.  Raises Problem: 400, 401, 500."""
        groups = (TRUSTED,) if peer in settings.trusted_hosts else ()
        if authorization is None:
            return AuthInfo(peer_address=peer, groups=groups)
        credential = parse(authorization)
        found = await self._checked(credential)
        if found is None:
            await self._failed(peer, credential)
            raise Problem(401, f"{credential.context} Authentication Failed for {shown(credential.name)}")
        self._failures.pop(peer, None)
        return AuthInfo(peer_address=peer, identities=found.identities, groups=(*groups, *found.groups))

    async def _checked(self, credential: Credential) -> AuthInfo | None:
        policy = self._policy()
        hashed = blake2b("\0".join((credential.context, *credential.said)).encode("utf-8", "replace"), key=self._secret).digest()
        place = (id(policy), hashed)
        kept = self._kept.get(place)
        now = self._clock.seconds()
        if kept is not None and kept[0] > now:
            return kept[1]
        found = await self._asked(policy, credential)
        self._kept[place] = (now + KEPT, found)
        self._kept.move_to_end(place)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return found

    async def _asked(self, policy: Policy, credential: Credential) -> AuthInfo | None:
        event = _EVENTS[credential.context]
        try:
            answer: Any = policy.first(event, *credential.said)
            if isinstance(answer, Deferred):
                answer = await answer.addTimeout(PATIENCE, self._clock)
        except Refusal:
            return None
        except (HookFailed, NotInTime) as fault:
            self.log.error("{event}: nobody can log in: {fault}", event=event, fault=str(fault))
            raise Problem(500, "try again later") from None
        if answer is True and credential.context == BASIC:
            return AuthInfo(identities=(Identity(credential.said[0], BASIC),))
        if isinstance(answer, AuthInfo):
            own = (Identity(credential.said[0], BASIC),) if credential.context == BASIC else ()
            identities = (*own, *(one for one in answer.identities if one not in own))
            return AuthInfo(identities=identities or (Identity("token", BEARER),), groups=answer.groups)
        if answer is True:
            return AuthInfo(identities=(Identity("token", BEARER),))
        if answer is not None and answer is not False:
            self.log.error("{event}: expected True, False or an AuthInfo", event=event)
            raise Problem(500, "try again later")
        return None

    async def _failed(self, peer: str, credential: Credential) -> None:
        """Say so, without the password, and let whoever guesses wait."""
        now = self._clock.seconds()
        count, last = self._failures.get(peer, (0, now))
        count = 1 if now - last > _FORGIVEN else count + 1
        self._failures[peer] = (count, now)
        self._failures.move_to_end(peer)
        if len(self._failures) > _MOST_PEERS:
            self._failures.popitem(last=False)
        self.log.warn(
            "HTTP: {peer} gave a wrong credential for {name} ({kind}), {count} in a row",
            peer=peer,
            name=shown(credential.name),
            kind=credential.context,
            count=count,
        )
        await deferLater(self._clock, min(2.0 ** (count - 1), _LONGEST_WAIT))


def parse(authorization: str) -> Credential:
    """An Authorization field.  Raises Problem: 400."""
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return Credential(BEARER, (rest.strip(),))
    if scheme.lower() != "basic":
        raise Problem(400, "Authorization: expected Basic or Bearer")
    try:
        user, colon, password = b64decode(rest.strip(), validate=True).decode().partition(":")
    except (NotBase64, ValueError):
        raise Problem(400, "Authorization: Basic with what is no base64 of name:password") from None
    if not colon:
        raise Problem(400, "Authorization: Basic without a colon between name and password")
    return Credential(BASIC, (user, password))
