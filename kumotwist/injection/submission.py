"""Who injects, and the messages that recipients get from it: the same rules as for mail that came by SMTP."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from kumotwist.config.listeners import TraceHeaders
from kumotwist.hooks.connection import AuthInfo, Identity
from kumotwist.injection.generation import Made
from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import Arrival, Peer
from kumotwist.mail.message import Message
from kumotwist.reception.intake import Origin
from kumotwist.reception.standing import Standing
from kumotwist.reception.trace import received, supplemental

BASIC = "HttpBasicAuth"


class Submission(Struct, frozen=True, kw_only=True):
    """
    Where a request came from.  auth: who the client is.  peer, local: IP addresses without ports.

    listener: `ip:port` as configured.  hostname: the listener's.
    """

    auth: AuthInfo
    peer: str
    local: str
    hostname: str
    listener: str

    @property
    def http_auth(self) -> str:
        """What metadata call the client: its user name, else another identity, else its address."""
        identities = self.auth.identities
        named = [one.identity for one in identities if one.context == BASIC] or [one.identity for one in identities]
        return named[0] if named else self.peer

    def meta(self) -> dict[str, Any]:
        """What the metadata of its messages begin with."""
        meta: dict[str, Any] = {
            "reception_protocol": "HTTP",
            "http_auth": self.http_auth,
            "received_from": self.peer,
            "received_via": self.local,
            "hostname": self.hostname,
        }
        proved = next((one.identity for one in self.auth.identities if one.context == BASIC), None)
        if proved is not None:  # as AUTH does: a tenant may be only for those who logged in
            meta["authn_id"] = meta["authz_id"] = proved
        return meta

    def kept(self) -> dict[str, Any]:
        """What a request that is generated later remembers of it."""
        identities = [{"identity": one.identity, "context": one.context} for one in self.auth.identities]
        auth = {"peer_address": self.auth.peer_address, "identities": identities, "groups": list(self.auth.groups)}
        return {**self.meta(), "auth_info": auth, "listener": self.listener}


def remembered(meta: Mapping[str, Any]) -> Submission:
    """Back from `kept`."""
    auth = meta.get("auth_info") or {}
    return Submission(
        auth=AuthInfo(
            peer_address=auth.get("peer_address"),
            identities=tuple(Identity(one["identity"], one["context"]) for one in auth.get("identities", ())),
            groups=tuple(auth.get("groups", ())),
        ),
        peer=meta.get("received_from", ""),
        local=meta.get("received_via", ""),
        hostname=meta.get("hostname", ""),
        listener=meta.get("listener", ""),
    )


class Forming:
    """Makes messages of contents, for one request."""

    def __init__(self, submission: Submission, sender: Mailbox, trace: TraceHeaders, standing: Standing, machine: str) -> None:
        """machine: this host's name.  standing: the rules and the policy that hold for the whole request."""
        self.standing = standing
        self.auth = submission.auth
        self.arrival = Arrival(peer=Peer("", submission.peer), session_id="")
        self._meta = submission.meta()
        self._origin = Origin(listener=submission.listener, peer=submission.peer)
        self._sender = sender
        self._trace = trace
        self._received = (
            f"Received: from {sender.domain or 'unspecified'} ({submission.peer})\r\n  by {machine} (KumoTwist)\r\n  with HTTP id "
        ).encode()

    def message(self, made: Made, message_id: str, now: float) -> Message:
        """As the configuration makes it; the policy has not seen it.  Raises Refusal."""
        assert made.mailbox is not None
        meta = dict(self._meta)
        if made.metadata:
            meta["extra"] = made.metadata
        reading = self.standing.intake.read(made.content, meta)
        self.standing.intake.tell(meta, reading, self._sender, made.mailbox, self._origin)
        top = received(self._received, message_id, made.mailbox, now) if self._trace.received_header else b""
        content = top + reading.content
        recipients = (made.mailbox,)
        message = Message(
            message_id, self._sender, recipients, content, meta, schedule=reading.schedule, log_headers=reading.log_headers
        )
        message.directions = self.standing.directions
        return message

    def finish(self, message: Message, before: bytes | None) -> None:
        """The last touch, after the policy's.  before: the content that the policy got.  Raises ValueError: no queue for it."""
        if message.content is not before:
            message.log_headers = self.standing.intake.logged(message.content or b"", message.log_headers)
        message.name_queue()
        trace = self._trace
        if trace.supplemental_header:
            top = supplemental(trace.header_name, message.recipients, message.meta, trace.include_meta_names)
            message.content = top + (message.content or b"")
            message.size = len(message.content)
