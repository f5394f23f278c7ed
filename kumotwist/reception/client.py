"""Who is connected, where to, under which settings, and what is known of them: the facts of one connection."""

from typing import Any

from msgspec import Struct

from kumotwist.config.listeners import ListenerSettings
from kumotwist.hooks.connection import AuthInfo, ConnMeta, Identity
from kumotwist.mail.disposition import Arrival, Peer, TlsFacts
from kumotwist.reception.intake import Origin
from kumotwist.reception.trace import received_start
from kumotwist.smtp.server_session import Limits

AUTHENTICATION = "SmtpAuthPlainAuthentication"
AUTHORIZATION = "SmtpAuthPlainAuthorization"


class Ends(Struct, frozen=True, kw_only=True):
    """The two ends of a connection: IP addresses without brackets, and ports."""

    peer_ip: str
    peer_port: int
    local_ip: str
    local_port: int

    @property
    def peer(self) -> str:
        return with_port(self.peer_ip, self.peer_port)

    @property
    def local(self) -> str:
        return with_port(self.local_ip, self.local_port)


def with_port(ip: str, port: int) -> str:
    """`ip:port`, `[ip]:port` for IPv6."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


class Client:
    """
    One client.  settings: what holds for it.  meta: what each of its messages' metadata begin with.

    arrival, received_start: what Reception records and Received fields say of it.
    """

    __slots__ = ("_server_name", "_session_id", "arrival", "conn_meta", "domain", "ends", "hostname", "meta", "origin",
                 "received_start", "settings", "tls")  # fmt: skip

    def __init__(self, server_name: str, settings: ListenerSettings, ends: Ends, session_id: str) -> None:
        """server_name: ours, where the settings have none."""
        self._server_name = server_name
        self._session_id = session_id
        self.ends = ends
        self.domain: str | None = None  # what it called itself
        self.tls: TlsFacts | None = None
        self.meta: dict[str, Any] = {"reception_protocol": "ESMTP", "received_from": ends.peer, "received_via": ends.local}
        self.conn_meta = ConnMeta(self.meta, AuthInfo(peer_address=ends.peer_ip))
        self.settle(settings)

    def settle(self, settings: ListenerSettings) -> None:
        """These settings hold from now on; metadata are added, and none goes."""
        self.settings = settings
        self.hostname = settings.hostname or self._server_name
        if settings.meta:
            self.meta.update(settings.meta)
        self.meta["hostname"] = self.hostname
        self._known()

    @property
    def limits(self) -> Limits:
        settings = self.settings
        return Limits(
            max_message_size=settings.max_message_size,
            max_line=settings.line_length_hard_limit,
            line_endings=settings.invalid_line_endings,
        )

    def moved(self, ends: Ends) -> None:
        """A proxy says who is connected to whom in truth."""
        meta = self.meta
        meta.setdefault("orig_received_from", self.ends.peer)
        meta.setdefault("orig_received_via", self.ends.local)
        meta["received_from"], meta["received_via"] = ends.peer, ends.local
        self.ends = ends
        auth = self.conn_meta.auth_info()
        self._is(AuthInfo(peer_address=ends.peer_ip, identities=auth.identities, groups=auth.groups))

    def introduced(self, domain: str | None) -> None:
        """It says who it is; None: what it said does not hold any more."""
        if domain is None:
            self.meta.pop("ehlo_domain", None)
        else:
            self.meta["ehlo_domain"] = domain
        self.domain = domain
        self._known()

    def tls_began(self, facts: TlsFacts) -> None:
        """The handshake is done."""
        self.tls = facts
        self.meta["tls_cipher"] = facts.cipher
        self.meta["tls_protocol_version"] = facts.protocol_version
        if facts.peer_subject_name:
            self.meta["tls_peer_subject_name"] = list(facts.peer_subject_name)

    def authenticated(self, proved: AuthInfo) -> None:
        """It has proved who it is.  proved: at least one identity."""
        by_context = {identity.context: identity.identity for identity in reversed(proved.identities)}
        authn = by_context.get(AUTHENTICATION, proved.identities[0].identity)
        self.meta["authn_id"] = authn
        self.meta["authz_id"] = by_context.get(AUTHORIZATION, authn)
        before = self.conn_meta.auth_info()
        self._is(
            AuthInfo(
                peer_address=before.peer_address,
                identities=_joined(before.identities, proved.identities),
                groups=_joined(before.groups, proved.groups),
            )
        )

    @property
    def logged_in(self) -> bool:
        return bool(self.conn_meta.auth_info().identities)

    def _is(self, auth: AuthInfo) -> None:
        self.conn_meta = ConnMeta(self.meta, auth)

    def _known(self) -> None:
        ends = self.ends
        self.arrival = Arrival(peer=Peer(self.domain or "", ends.peer_ip), session_id=self._session_id, tls=self.tls)
        self.origin = Origin(listener=self.settings.listen, peer=ends.peer_ip)
        self.received_start = received_start(self.domain, ends.peer_ip, self.hostname, ends.local_ip, self.tls)


def as_identities(authz: str, authc: str) -> AuthInfo:
    """Who a client is whose password was right."""
    return AuthInfo(identities=(Identity(authc, AUTHENTICATION), Identity(authz, AUTHORIZATION)))


def _joined(before: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*before, *(one for one in new if one not in before))
