"""
AUTH PLAIN and LOGIN (RFC 4954, RFC 4616): what a client says to prove who it is, and what the policy's answer means.

Nothing of what it says gets into a log or a record.
"""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Awaitable, Callable

from msgspec import Struct
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from kumotwist.hooks.connection import AuthInfo
from kumotwist.hooks.policy import HookFailed, Policy
from kumotwist.mail.reply import Refusal, Reply, refuse, reply
from kumotwist.reception.client import Client, as_identities
from kumotwist.reception.waits import Ask, BadAnswer, Overdue, Wire
from kumotwist.smtp.commands import NEED_DATA, Auth, Refused, Response
from kumotwist.smtp.server_session import ServerSession

Hear = Callable[[Reply], Awaitable[bytes]]  # says a challenge, fires with the line that answers it

MECHANISMS = ("PLAIN", "LOGIN")
MOST_FAILURES = 5  # of one connection; the model has no limit, which helps only those who guess
_LONGEST_WAIT = 30.0  # seconds

_PROCEED = reply("334 ")
_USER_NAME = reply("334 VXNlcm5hbWU6")  # "Username:"
_PASSWORD = reply("334 UGFzc3dvcmQ6")  # "Password:"


class Credentials(Struct, frozen=True):
    """What a client says.  authz: whom it wants to be, never empty.  authc: whose password it knows."""

    authz: str
    authc: str
    password: str

    def __repr__(self) -> str:
        return "Credentials(…)"


class Login:
    """One client's attempts."""

    log = Logger()

    def __init__(self, session: ServerSession, wire: Wire, clock: IReactorTime) -> None:
        self._session = session
        self._wire = wire
        self._clock = clock
        self._failures = 0

    async def proved(self, auth: Auth, client: Client, policy: Policy, ask: Ask) -> AuthInfo:
        """Who the client is.  Raises Refusal and Hangup."""
        mechanism = auth.mechanism
        if client.logged_in:
            raise refuse("503 5.5.1 AUTH me once, can't get authed again!")
        if mechanism not in MECHANISMS:
            raise refuse("504 5.5.4 AUTH MECH not supported")
        if not self._session.tls_active:
            raise refuse(f"524 5.7.11 AUTH {mechanism} requires an encrypted channel")
        said = await credentials(mechanism, auth.initial, self._hear)
        try:
            info = proved(
                await ask(policy.first("smtp_server_auth_plain", said.authz, said.authc, said.password, client.conn_meta)), said
            )
        except (HookFailed, BadAnswer, Overdue) as fault:
            self.log.error("{peer}: nobody can log in: {fault}", peer=client.ends.peer, fault=fault)
            raise refuse("454 4.7.0 Temporary authentication failure") from None
        except Refusal:
            await self._failed(client)
            raise
        if info is None:
            await self._failed(client)
            raise refuse("535 5.7.8 AUTH invalid")
        return info

    async def _failed(self, client: Client) -> None:
        """Whoever guesses waits longer each time.  Raises Refusal when it is enough."""
        self._failures += 1
        wait = min(2.0 ** (self._failures - 1), _LONGEST_WAIT)
        await self._wire.answer(deferLater(self._clock, wait), 2 * wait)
        if self._failures >= MOST_FAILURES:
            raise refuse(f"421 4.7.0 {client.hostname} too many failed logins")

    async def _hear(self, challenge: Reply) -> bytes:
        """The client's answer to a challenge.  Raises Refusal and Hangup."""
        self._wire.write(challenge.encode())
        self._session.challenge()
        while (event := self._session.next_event()) is NEED_DATA:
            await self._wire.more()
        if isinstance(event, Response):
            return event.line
        assert isinstance(event, Refused)  # a challenge is answered by one or the other
        raise Refusal(event.reply)


async def credentials(mechanism: str, initial: str | None, hear: Hear) -> Credentials:
    """What the client says in a mechanism's exchange.  initial: what came with the command.  Raises Refusal."""
    if mechanism == "PLAIN":
        return _plain(_decoded(initial.encode() if initial is not None else await hear(_PROCEED)))
    name = _decoded(initial.encode() if initial is not None else await hear(_USER_NAME))
    password = _decoded(await hear(_PASSWORD))
    try:
        return Credentials(name.decode(), name.decode(), password.decode())
    except UnicodeDecodeError:
        raise refuse("501 5.5.2 Invalid UTF8 in decoded LOGIN response") from None


def _decoded(line: bytes) -> bytes:
    if line == b"*":
        raise refuse("501 5.5.0 AUTH cancelled by client")
    if line == b"=":  # RFC 4954 section 4: an initial response of no octets
        return b""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise refuse("501 5.5.2 Invalid UTF-8 in authentication exchange") from None
    try:
        return b64decode(text, validate=True)
    except (NotBase64, ValueError):
        raise refuse("501 5.5.2 Invalid base64 response") from None


def _plain(response: bytes) -> Credentials:
    """RFC 4616 section 2: [authzid] NUL authcid NUL passwd."""
    fields = response.split(b"\0")
    if len(fields) != 3:
        raise refuse("501 5.5.2 Invalid decoded PLAIN response")
    try:
        authz, authc, password = (field.decode() for field in fields)
    except UnicodeDecodeError:
        raise refuse("501 5.5.2 Invalid UTF8 in decoded PLAIN response") from None
    return Credentials(authz or authc, authc, password)


def proved(answer: object, said: Credentials) -> AuthInfo | None:
    """Who the client is by the policy's answer; None: not who it says.  Raises BadAnswer."""
    if answer is None or answer is False:
        return None
    if answer is True:
        return as_identities(said.authz, said.authc)
    if isinstance(answer, AuthInfo) and answer.identities:
        return answer
    raise BadAnswer("smtp_server_auth_plain: expected True, False, or an AuthInfo with identities")
