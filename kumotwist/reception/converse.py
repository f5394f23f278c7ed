"""
One ESMTP dialogue, from the greeting to the end: who may do what, and what becomes of the messages.

The session (smtp.server_session) knows grammar and order, the wire knows the socket; here are the answers.  A conversation
is one coroutine, so commands are answered strictly in order however much the client pipelines.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.given import BadParameters
from kumotwist.config.listeners import ListenerSettings
from kumotwist.config.virtual_hosts import effective
from kumotwist.hooks.policy import HookFailed
from kumotwist.hooks.rejection import Disconnect, Rejection
from kumotwist.mail.disposition import TlsFacts
from kumotwist.mail.message import Message
from kumotwist.mail.reply import Refusal, Reply, refuse, reply
from kumotwist.reception.client import Client, Ends
from kumotwist.reception.login import Login
from kumotwist.reception.parameters import dynamic_parameters
from kumotwist.reception.proxy_header import BadProxyHeader, hear_proxy
from kumotwist.reception.relay import Relay
from kumotwist.reception.rewriting import advertised, reply_of, rewritten
from kumotwist.reception.shared import Reception
from kumotwist.reception.shown import shown_to
from kumotwist.reception.telling import is_told, tell_refusal
from kumotwist.reception.transaction import Transaction, accepted
from kumotwist.reception.waits import BadAnswer, Hangup, Overdue, Wire
from kumotwist.reception.xclient import moved_by
from kumotwist.smtp.commands import (
    NEED_DATA,
    Auth,
    Chunk,
    Content,
    Data,
    Ehlo,
    Helo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Refused,
    Rset,
    StartTls,
    Vrfy,
    XClient,
)
from kumotwist.smtp.extensions import offered
from kumotwist.smtp.server_session import ServerSession

_INTERNAL_ERROR = reply("451 4.3.0 internal error")
_GO_AHEAD = b"354 Send body; end with CRLF.CRLF\r\n"
_NOTHING_DONE = b"250 the goggles do nothing\r\n"
_NOT_TOLD = b"252 2.5.2 Cannot VRFY user, but will accept message and attempt delivery\r\n"
_OVERDUE = "451 4.4.5 data_processing_timeout exceeded (spool)"
_OVERDUE_POLICY = "451 4.4.5 data_processing_timeout exceeded (rx)"


class Conversation:
    """The answers to one client."""

    log = Logger()

    def __init__(self, reception: Reception, settings: ListenerSettings, wire: Wire, ends: Ends) -> None:
        """settings: the listener's, as configured."""
        self._reception = reception
        self._listener = settings
        self._counts = reception.counts.of(settings.listen)
        self._wire = wire
        self._over = False
        self._messages_seen = 0
        self._transaction: Transaction | None = None
        self._standing = reception.standing
        own = effective(settings, peer_ip=ends.peer_ip, local_ip=ends.local_ip)
        self._client = Client(reception.hostname, own, ends, str(UUID(int=reception.randbits(128), version=4)))
        self.session = ServerSession(self._client.limits, self._client.hostname, arriving=reception.arrivals)
        self._login = Login(self.session, wire, reception.clock)
        self._settled()

    def _settled(self) -> None:
        """What the client's settings are, or who it is, has changed."""
        settings = self._client.settings
        self._settings = settings
        self._hostname = self._client.hostname
        self._banner = f"220 {self._hostname} {settings.banner}\r\n".encode()
        self._wire.timeout = settings.client_timeout
        self._wire.read_by(settings.data_buffer_size)
        self._renew_relay()

    def _renew_relay(self) -> None:
        client, standing = self._client, self._standing
        self._relay = Relay(
            client.ends.peer_ip,
            self._settings.relay_hosts,
            standing.intake.rules.listener_domains,
            listener=client.ends.local,
            authz_id=client.meta.get("authz_id"),
            policy=standing.policy if standing.listener_domain else None,
            conn_meta=client.conn_meta,
        )

    async def run(self) -> None:
        """The whole dialogue; returns when the connection is to be closed, and has closed it."""
        try:
            await self._begin()
            await self._converse()
        except Hangup as hangup:
            if hangup.args[0]:
                self._wire.write(await self._refused(reply(f"421 4.3.2 {self._hostname} {hangup.args[0]}")))
        except Exception:  # noqa: BLE001  (whatever broke, the client gets an answer and the others are not concerned)
            self.log.failure("{peer}: conversation broke off", peer=self._client.ends.peer)
            self._wire.write(f"421 4.3.0 {self._hostname} technical difficulties\r\n".encode())
        finally:
            self.session.release()
            self._wire.close()

    async def _converse(self) -> None:
        wire, session = self._wire, self.session
        while not self._over:
            event = session.next_event()
            if event is NEED_DATA:
                await wire.more()
                continue
            kind = type(event)
            try:
                answer = _ANSWERS.get(kind)
                if answer is not None:
                    octets = answer(self, event)
                    if type(octets) is not bytes:
                        octets = await octets  # type: ignore[misc]  # what is not bytes waits for the policy
                    session.accept(event)  # type: ignore[arg-type]  # what is in the table is a command
                elif isinstance(event, Content):
                    octets = await self._received(event.body)
                else:
                    octets = self._not_granted(event)
                if self._standing.rewrite and octets:
                    octets = await self._rewritten(octets)
            except Exception as fault:  # noqa: BLE001  (a fault costs one command; RFC 5321 wants an answer to each)
                octets = await self._failed(fault)
            if kind is Content or (kind is Refused and event.ends_transaction):  # type: ignore[union-attr]  # it is a Refused
                self._transaction = None
                session.release()
            if octets:
                wire.write(octets)
            if wire.choked:
                await wire.drained()

    def tls_began(self, facts: TlsFacts) -> None:
        """The handshake is done."""
        self._client.tls_began(facts)

    # The policy

    async def _ask(self, answer: Any, within: float | None = None) -> Any:
        """The policy's answer, waited for if need be.  Raises Overdue and Hangup."""
        if not isinstance(answer, Deferred):
            return answer
        return await self._wire.answer(answer, self._settings.data_processing_timeout if within is None else within)

    def _look_again(self) -> None:
        """What holds for what comes next, if configuration or policy have changed."""
        standing = self._reception.standing
        if standing is not self._standing:
            self._standing = standing
            self._renew_relay()

    # Refusals

    async def _failed(self, fault: Exception) -> bytes:
        """The answer to a command that was refused, or broke."""
        if isinstance(fault, Hangup):
            raise fault
        if isinstance(fault, Refusal):
            return await self._refused_by(fault)
        peer, line = self._client.ends.peer, self.session.line
        if isinstance(fault, BadAnswer | BadParameters | Overdue):
            self.log.error("{peer}: {line} failed: {fault}", peer=peer, line=line, fault=fault)
        elif not isinstance(fault, HookFailed):  # the policy has told of its own
            self.log.failure("{peer}: {line} failed", Failure(fault), peer=peer, line=line)
        return await self._refused(_INTERNAL_ERROR)

    async def _refused(self, answer: Reply) -> bytes:
        """The octets of a refusal, which is told to the desk unless it is about our own state (421 4.3.2)."""
        command = self.session.line or None
        if self._standing.rewrite:
            answer = await self._rewrite(answer, command)
        return self._noted(answer, command)

    async def _refused_by(self, refusal: Refusal) -> bytes:
        """A refusal, and what is said after it where the policy ends the session with it."""
        octets = await self._refused(refusal.reply)
        how = refusal.disconnects if isinstance(refusal, Rejection) else None
        if how not in (Disconnect.FORCE, Disconnect.FOLLOW_WITH_421):
            return octets
        self._over = True
        if how is Disconnect.FORCE or refusal.reply.code == 421:
            return octets
        return octets + f"421 {self._hostname} disconnecting due to previous error\r\n".encode()

    def _noted(self, answer: Reply, command: str | None) -> bytes:
        if answer.code == 421:
            self._over = True
        if is_told(answer):
            self._counts.rejections += 1
            said = Reply(answer.code, answer.enhanced, answer.text, command)
            tell_refusal(self._reception.desk, said, self._client, self._transaction)
        return answer.encode()

    async def _rewritten(self, octets: bytes) -> bytes:
        """An answer that is no refusal, as the policy wants it said."""
        command = self.session.line
        answer = await self._rewrite(reply_of(octets), command if command == "DATA" and octets[:3] != b"354" else None)
        return self._noted(answer, command or None)

    async def _rewrite(self, answer: Reply, command: str | None) -> Reply:
        return await rewritten(answer, command, self._standing.policy, self._client.conn_meta, self._ask)

    def _not_granted(self, event: Any) -> bytes:
        """What the session refused, or a chunk that is not the last."""
        if isinstance(event, Chunk):
            return f"250 OK {event.size} octets received\r\n".encode()
        assert isinstance(event, Refused)
        self._over = self._over or event.closes
        if event.ends_transaction:
            self._messages_seen += 1
        raise Refusal(event.reply)

    # The beginning

    async def _begin(self) -> None:
        """Before the client says anything: where it comes from, what holds for it, whether it is welcome."""
        closed_for = self._reception.desk.closed_for()
        if closed_for is not None:
            self._over = True
            self._counts.denied += 1
            self._wire.write(await self._refused(reply(f"421 4.3.2 {self._hostname} {closed_for}")))
            return
        if self._settings.require_proxy_protocol:
            await self._meet_proxy()
        standing = self._standing
        try:
            if standing.dynamic:
                await self._settle()
            if standing.accepted:
                await self._ask(standing.policy.each("smtp_server_connection_accepted", self._client.conn_meta))
        except Hangup:
            raise
        except Exception as fault:  # noqa: BLE001  (there is no command to answer: whatever it was, the session ends)
            self._wire.write(await self._unwelcome(fault))
            return
        self._wire.write(await self._rewritten(self._banner) if standing.rewrite else self._banner)

    async def _unwelcome(self, fault: Exception) -> bytes:
        """The last words to a client that the policy refuses, or that it broke for."""
        self._over = True
        if isinstance(fault, Refusal):
            return await self._refused_by(fault)
        if not isinstance(fault, HookFailed):
            self.log.failure("{peer}: refused", Failure(fault), peer=self._client.ends.peer)
        return await self._refused(reply(f"421 4.3.0 {self._hostname} technical difficulties"))

    async def _meet_proxy(self) -> None:
        """What the proxy in front of us says comes before anything else; without it nobody gets an answer.  Raises Hangup."""
        try:
            ends = await hear_proxy(self.session, self._wire)
        except (Hangup, BadProxyHeader) as fault:
            self.log.info("{peer}: no PROXY header: {fault}", peer=self._client.ends.peer, fault=fault)
            raise Hangup("") from None
        if ends is not None:
            self._client.moved(ends)
            await self._settle(ask=False)  # the policy is asked in its turn, and once

    async def _settle(self, *, ask: bool = True) -> None:
        """
        What holds for the client, who may have become another: the listener's settings, and over them the policy's.

        Raises Refusal, HookFailed, BadParameters.
        """
        client, dynamic = self._client, None
        if ask and self._standing.dynamic:
            dynamic = await dynamic_parameters(self._standing.policy, self._listener.listen, client.conn_meta, self._ask)
        ends = client.ends
        client.settle(effective(self._listener, peer_ip=ends.peer_ip, local_ip=ends.local_ip, dynamic=dynamic))
        self.session.limit(client.limits, client.hostname)
        self._settled()

    # Answers

    def _ehlo(self, ehlo: Ehlo) -> "bytes | Coroutine[Any, Any, bytes]":
        self._look_again()
        extensions = offered(
            self._settings.max_message_size,
            tls_active=self.session.tls_active,
            auth=self._standing.auth,
            xclient=self._settings.allow_xclient,
        )
        if self._standing.ehlo:
            return self._ehlo_of_policy(ehlo, list(extensions))
        self._introduced(ehlo.domain)
        return self._aloha(ehlo.domain, extensions)

    def _aloha(self, domain: str, extensions: Sequence[str]) -> bytes:
        return reply("250 " + "\n".join([f"{self._hostname} Aloha {domain}", *extensions])).encode()

    async def _ehlo_of_policy(self, ehlo: Ehlo, extensions: list[str]) -> bytes:
        policy = self._standing.policy
        answer = await self._ask(policy.first("smtp_server_ehlo", ehlo.domain, self._client.conn_meta, list(extensions)))
        if answer is not None:
            extensions = advertised(answer)
        self._introduced(ehlo.domain)
        return self._aloha(ehlo.domain, extensions)

    def _helo(self, helo: Helo) -> "bytes | Coroutine[Any, Any, bytes]":
        self._look_again()
        if self._standing.ehlo:
            return self._helo_of_policy(helo)
        self._introduced(helo.domain)
        return f"250 Hello {helo.domain}!\r\n".encode()

    async def _helo_of_policy(self, helo: Helo) -> bytes:
        await self._ask(self._standing.policy.first("smtp_server_ehlo", helo.domain, self._client.conn_meta, []))
        self._introduced(helo.domain)
        return f"250 Hello {helo.domain}!\r\n".encode()

    def _introduced(self, domain: str | None) -> None:
        """The client says who it is; None: what it said does not hold any more.  An open transaction ends."""
        self._transaction = None
        self._client.introduced(domain)

    async def _start_tls(self, _: StartTls) -> bytes:
        try:
            context = self._reception.certificates.factory(await shown_to(self._client, self._standing.policy, self._ask))
        except Hangup:
            raise
        except Exception:  # noqa: BLE001  (whatever is wrong with a certificate, the session can go on without TLS)
            self.log.failure("{listen}: no TLS", listen=self._settings.listen)
            raise refuse("454 4.7.0 TLS not available due to temporary reason") from None  # RFC 3207 section 4
        ready = reply("220 Ready to Start TLS")
        if self._standing.rewrite:
            ready = Reply(ready.code, None, (await self._rewrite(ready, None)).text)  # the deed is done
        self._introduced(None)
        self._wire.write(ready.encode())
        self.session.start_tls()
        self._wire.start_tls(context)
        return b""

    async def _auth(self, auth: Auth) -> bytes:
        self._look_again()
        self._client.authenticated(await self._login.proved(auth, self._client, self._standing.policy, self._ask))
        self._renew_relay()
        return b"235 2.7.0 AUTH OK!\r\n"

    async def _xclient(self, xclient: XClient) -> bytes:
        if not self._settings.allow_xclient:
            raise refuse("550 insufficient authorization")
        if self._transaction is not None:
            raise refuse("503 mail transaction in progress")
        self._client.moved(moved_by(self._client.ends, xclient.attributes))
        try:
            await self._settle()
        except Hangup:
            raise
        except Exception as fault:  # noqa: BLE001  (nobody knows what holds for this client: the session ends)
            self._wire.write(await self._unwelcome(fault))
            return b""
        return self._banner

    def _mail(self, mail: Mail) -> "bytes | Coroutine[Any, Any, bytes]":
        self._reception.check_open(self._hostname)
        if self._messages_seen >= self._settings.max_messages_per_connection:
            raise refuse(f"421 4.7.0 {self._hostname} too many messages on this connection")
        if self._reception.standing is not self._standing:
            self._look_again()
        if self._standing.mail:
            return self._mail_of_policy(mail)
        return self._mail_granted(mail)

    def _mail_granted(self, mail: Mail) -> bytes:
        self._transaction = Transaction(mail.sender, self._client, self._standing, self._relay, self._reception.clock.seconds())
        self._transaction.most_copies = self._reception.arrivals.most_copies(mail.size)
        return f"250 OK <{mail.sender.email}>\r\n".encode()

    async def _mail_of_policy(self, mail: Mail) -> bytes:
        await self._ask(self._standing.policy.each("smtp_server_mail_from", mail.sender, self._client.conn_meta))
        return self._mail_granted(mail)

    def _rcpt(self, rcpt: Rcpt) -> "bytes | Coroutine[Any, Any, bytes]":
        transaction = self._transaction
        assert transaction is not None  # the session lets RCPT come only after MAIL
        standing = transaction.standing
        if standing.rcpt or standing.listener_domain:
            return self._rcpt_of_policy(transaction, rcpt)
        self._check_recipient(transaction, rcpt)
        return _recipient_granted(transaction, rcpt)

    def _check_recipient(self, transaction: Transaction, rcpt: Rcpt) -> None:
        """Raises Refusal."""
        if not transaction.relay.accepts(transaction.sender, rcpt.recipient):
            raise refuse(f"550 5.7.1 relaying not permitted for {self._client.ends.peer}")
        if len(transaction.recipients) >= transaction.most_recipients(self._settings.max_recipients_per_message):
            raise refuse("452 4.5.3 too many recipients")
        if self._reception.suppressed.stands:
            # A tenant that only the message names is not known yet: then its queue looks.
            tenant = self._client.meta.get("tenant")
            self._reception.suppressed.check(rcpt.recipient, tenant, self._reception.clock.seconds())

    async def _rcpt_of_policy(self, transaction: Transaction, rcpt: Rcpt) -> bytes:
        standing = transaction.standing
        if standing.listener_domain:
            await transaction.relay.learn(transaction.sender.domain, self._ask)
            await transaction.relay.learn(rcpt.recipient.domain, self._ask)
        self._check_recipient(transaction, rcpt)
        if standing.rcpt:
            await self._ask(standing.policy.each("smtp_server_rcpt_to", rcpt.recipient, self._client.conn_meta))
        return _recipient_granted(transaction, rcpt)

    def _rset(self, _: Rset) -> bytes:
        self._transaction = None
        return b"250 Reset state\r\n"

    def _quit(self, _: Quit) -> bytes:
        self._over = True
        return b"221 So long, and thanks for all the fish!\r\n"

    # Messages

    async def _received(self, body: bytes) -> bytes:
        """
        A whole message: ours, or refused by Refusal.  The transaction is over whatever comes of it.

        data_processing_timeout, departing from the model in one case: what custody has been asked to keep it may keep yet,
        so saying 451 when the time is over would double the message if the write then succeeds.  We wait for the truth:
        250, if late; 451 4.4.5 where it failed after the deadline, when nothing is kept.  A client that has given up by
        then sends again, which only it can know.
        """
        transaction = self._transaction
        assert transaction is not None  # the session lets a message come only after MAIL and RCPT
        self._messages_seen += 1
        arrivals = self._reception.arrivals
        taken = transaction.take_room(body, arrivals)
        try:
            return await self._made_ours(transaction, body)
        finally:
            arrivals.give_back_whole(taken)

    async def _made_ours(self, transaction: Transaction, body: bytes) -> bytes:
        reception = self._reception
        started = reception.clock.seconds()
        if transaction.standing.messages:
            messages = await self._messages_of_policy(transaction, body, started)
        else:
            messages = transaction.messages(body, reception.ids, started)
        try:
            await self._wire.result(transaction.hand_over(reception.desk, messages))
        except Refusal as refusal:
            if reception.clock.seconds() - started >= self._settings.data_processing_timeout:
                raise refuse(_OVERDUE, refusal.reason) from refusal
            raise
        self._counts.accepted(len(messages), transaction.began, started, reception.clock.seconds())
        return accepted(messages)

    async def _messages_of_policy(self, transaction: Transaction, body: bytes, started: float) -> list[Message]:
        """Raises Refusal for all of them, also where the policy takes longer than data_processing_timeout."""
        clock, limit = self._reception.clock, self._settings.data_processing_timeout

        def ask(answer: Any) -> Awaitable[Any]:
            return self._ask(answer, max(0.0, started + limit - clock.seconds()))

        try:
            return await transaction.messages_of_policy(body, self._reception.ids, started, ask)
        except Overdue as fault:
            raise refuse(_OVERDUE_POLICY, str(fault)) from None


def _recipient_granted(transaction: Transaction, rcpt: Rcpt) -> bytes:
    transaction.recipients.append(rcpt.recipient)
    return f"250 OK <{rcpt.recipient.email}>\r\n".encode()


_ANSWERS: dict[type, Callable[[Conversation, Any], bytes | Coroutine[Any, Any, bytes]]] = {
    Ehlo: Conversation._ehlo,
    Helo: Conversation._helo,
    StartTls: Conversation._start_tls,
    Auth: Conversation._auth,
    XClient: Conversation._xclient,
    Mail: Conversation._mail,
    Rcpt: Conversation._rcpt,
    Data: lambda _, __: _GO_AHEAD,
    Rset: Conversation._rset,
    Noop: lambda _, __: _NOTHING_DONE,
    Vrfy: lambda _, __: _NOT_TOLD,
    Quit: Conversation._quit,
}
