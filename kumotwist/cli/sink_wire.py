"""
The receiving end of a sink: one raw Protocol that answers each chunk of a client's dialogue with one write.

A benchmark's sink runs beside what it measures, so each microsecond here is taken from that: commands are cut out with
`bytes.find`, content is not looked at unless somebody wants it, and replies are constants.  What is not plain
acceptance (delays, refusals, disconnections) leaves the straight path through one test per command.

RFC 5321; PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), STARTTLS (RFC 3207).
"""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from kumotwist.cli.sink_behaviour import Behaviour, Kind, Rule, Stage
from kumotwist.cli.sink_counts import UNKNOWN_DOMAIN, Counts, Tally
from kumotwist.cli.sink_record import Accepted
from kumotwist.mail.address import BadAddress, parse_domain
from kumotwist.smtp.dotted import unstuff
from kumotwist.transport import write_now

MOST_LINE_OCTETS = 8192  # RFC 5321 section 4.5.3.1.4 asks for 512 and more where extensions add parameters
MOST_DOMAINS = 100_000  # known by name; what is sent to more is counted together

GO_AHEAD = b"354 End data with <CR><LF>.<CR><LF>\r\n"
OK = b"250 2.0.0 Ok\r\n"
TAKEN = b"250 2.0.0 Ok: discarded\r\n"
SENDER_OK = b"250 2.1.0 Ok\r\n"
RECIPIENT_OK = b"250 2.1.5 Ok\r\n"
BYE = b"221 2.0.0 Bye\r\n"
MAYBE = b"252 2.5.2 Send some mail, I will take it\r\n"
HELP = b"214 2.0.0 What is sent here is discarded\r\n"
TLS_READY = b"220 2.0.0 Ready to start TLS\r\n"
UNKNOWN = b"500 5.5.1 Unknown command\r\n"
BAD_SYNTAX = b"501 5.5.4 Syntax error in the address or its parameters\r\n"
BAD_SEQUENCE = b"503 5.5.1 Bad sequence of commands\r\n"
NO_RECIPIENTS = b"554 5.5.1 No valid recipients\r\n"
TOO_LONG = b"500 5.5.6 Line too long\r\n"
TOO_BIG = b"552 5.3.4 Message too big\r\n"


class Site:
    """A recipient domain: its rule, its count."""

    __slots__ = ("rule", "tally")

    def __init__(self, rule: Rule, tally: Tally) -> None:
        self.rule = rule
        self.tally = tally


class SinkFactory(Factory):
    """
    draw: uniform in [0, 1).  take: gets each accepted message; None: nobody wants them.
    tls: an IOpenSSLServerConnectionCreator to offer STARTTLS with, or None.
    """

    noisy = False

    def __init__(
        self,
        behaviour: Behaviour,
        clock: IReactorTime,
        draw: Callable[[], float],
        *,
        hostname: str,
        take: Callable[[Accepted], None] | None = None,
        tls: Any = None,
        max_message_size: int = 100 * 1024 * 1024,
    ) -> None:
        self.clock = clock
        self.draw = draw
        self.take = take
        self.tls = tls
        self.max_message_size = max_message_size
        self.counts = Counts()
        self.default = behaviour.default
        self.local_parts = {name.encode(): rule for name, rule in behaviour.local_parts.items()}
        self.sites: dict[bytes, Site] = {}
        self._behaviour = behaviour
        self.banner = f"220 {hostname} ESMTP sink\r\n".encode()
        offers = ["PIPELINING", f"SIZE {max_message_size}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        self.greeting = self._ehlo(hostname, [*offers, "STARTTLS"] if tls else offers)
        self.secure_greeting = self._ehlo(hostname, offers)
        self.helo = f"250 {hostname}\r\n".encode()

    @staticmethod
    def _ehlo(hostname: str, offers: list[str]) -> bytes:
        lines = [hostname, *offers]
        return "".join(f"250{' ' if line is lines[-1] else '-'}{line}\r\n" for line in lines).encode()

    def buildProtocol(self, addr: IAddress | None) -> "SinkWire":
        return SinkWire(self)

    def site(self, domain: bytes) -> Site:
        """The rule and the count for a domain that was not seen in this form before."""
        text = domain.decode("utf-8", "replace")
        try:
            name = parse_domain(text)
        except BadAddress:
            name = text.lower()
        if len(self.sites) >= MOST_DOMAINS:
            return Site(self._behaviour.rule("", name), self.counts.domain("(others)"))
        site = self.sites[domain] = Site(self._behaviour.rule("", name), self.counts.domain(name))
        return site


class SinkWire(Protocol):
    """
    One client's dialogue.

    _sender: what MAIL gave; None outside a transaction.  _recipients: (site, rule, address) of those accepted so far.
    _rest: input not yet answered: part of a line, the end of a chunk of content, or all that came during a delay.
    _halted: nothing is answered now: a delay runs or the connection is to end.
    """

    transport: Any  # a TCP transport or a test's: no one interface has all that both can do

    def __init__(self, factory: SinkFactory) -> None:
        self._sink = factory
        self._rest = b""
        self._receiving = False
        self._halted = False
        self._secure = False
        self._ehlo: bytes | None = None
        self._sender: bytes | None = None
        self._recipients: list[tuple[Site, Rule, bytes]] = []
        self._pieces: list[bytes] = []
        self._size = 0
        self._wants_content = factory.take is not None
        self._began = 0.0
        # What the command in hand asks for beyond its reply.
        self._delay = 0.0
        self._ending = False
        self._securing = False
        self._waiting: IDelayedCall | None = None
        self._commands: Mapping[bytes, Callable[[SinkWire, bytes], bytes]] = _COMMANDS

    # -- the connection

    def connectionMade(self) -> None:
        factory = self._sink
        counts = factory.counts
        counts.connections += 1
        counts.open += 1
        self._client = str(getattr(self.transport.getPeer(), "host", "unix"))
        self._tally = counts.client(self._client)
        self._tally.connections += 1
        self._connected = factory.clock.seconds() if self._wants_content else 0.0
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        refusal = self._at_stage(Stage.BANNER, factory.default)
        if refusal is not None:
            self._commands = _TURNED_AWAY
        self._say(factory.banner if refusal is None else refusal, b"")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._sink.counts.open -= 1
        self._halted = True
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def dataReceived(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        if self._halted:
            self._rest = data
            return
        self._consume(data)

    def _consume(self, data: bytes) -> None:
        """Answer all that is whole in `data`, in one write; keep the rest."""
        replies: list[bytes] = []
        at = 0
        while True:
            if self._receiving:
                # The CRLF before the content is that of the DATA command, so that a lone dot at once is found too.
                end = data.find(b"\r\n.\r\n", at)
                if end < 0:
                    at = self._keep_content(data, at)
                    break
                reply = self._end_of_data(data, at, end)
                at = end + 5
            else:
                end = data.find(b"\r\n", at)
                if end < 0:
                    if len(data) - at > MOST_LINE_OCTETS:
                        self._ending = True
                        self._say(TOO_LONG, b"")
                        return
                    break
                reply = self._commands.get(data[at : at + 4], SinkWire._other)(self, data[at:end])
                at = end if self._receiving else end + 2
            if self._delay or self._ending or self._securing:
                if replies:
                    write_now(self.transport, b"".join(replies))
                self._say(reply, data[at:])
                return
            replies.append(reply)
        self._rest = data[at:] if at else data
        if replies:
            write_now(self.transport, replies[0] if len(replies) == 1 else b"".join(replies))

    # -- content

    def _keep_content(self, data: bytes, at: int) -> int:
        """The content goes on in the next chunk.  Returns where the part begins that may hold half of its end."""
        keep = max(at, len(data) - 4)
        self._size += keep - at
        if self._wants_content:
            self._pieces.append(data[at:keep])
        return keep

    def _end_of_data(self, data: bytes, at: int, end: int) -> bytes:
        """The final dot: `end` is where the CRLF before it stands."""
        factory = self._sink
        self._receiving = False
        size = self._size + end - at  # two octets of the DATA command's CRLF in front, two of the last line's behind
        self._size = 0
        recipients = self._recipients
        refusal = self._for_all(Stage.DOT)
        if size > factory.max_message_size:
            refusal = TOO_BIG
        if refusal is None:
            factory.counts.messages += 1
            factory.counts.octets += size
            for site, _, _ in recipients:
                site.tally.accepted += 1
            self._tally.accepted += len(recipients)
            if self._wants_content:
                self._pieces.append(data[at : end + 2])
                self._hand_over(b"".join(self._pieces)[2:])
        self._pieces.clear()
        self._reset()
        return TAKEN if refusal is None else refusal

    def _hand_over(self, body: bytes) -> None:
        take = self._sink.take
        assert take is not None
        take(
            Accepted(
                client=self._client,
                local=str(getattr(self.transport.getHost(), "host", "")),
                ehlo=(self._ehlo or b"").decode("utf-8", "replace"),
                tls=self._secure,
                sender=(self._sender or b"").decode("utf-8", "replace"),
                recipients=tuple(address.decode("utf-8", "replace") for _, _, address in self._recipients),
                content=unstuff(body),
                connected=self._connected,
                began=self._began,
                ended=self._sink.clock.seconds(),
            )
        )

    def _reset(self) -> None:
        self._sender = None
        self._recipients = []

    # -- commands: each gets its line and returns its reply

    def _mail(self, line: bytes) -> bytes:
        if self._ehlo is None or self._sender is not None:
            return BAD_SEQUENCE
        if line[4:10].upper() != b" FROM:":
            return BAD_SYNTAX
        start, stop = line.find(b"<", 10), line.find(b">", 10)
        if start < 0 or stop < start:
            return BAD_SYNTAX
        refusal = self._at_stage(Stage.MAIL, self._sink.default)
        if refusal is not None:
            return refusal
        size = line.find(b" SIZE=", stop)
        if size > 0 and _declared(line, size + 6) > self._sink.max_message_size:
            return TOO_BIG
        self._sender = line[start + 1 : stop]
        if self._wants_content:
            self._began = self._sink.clock.seconds()
        return SENDER_OK

    def _rcpt(self, line: bytes) -> bytes:
        if self._sender is None:
            return BAD_SEQUENCE
        start, stop = line.find(b"<", 7), line.find(b">", 7)
        if start < 0 or stop < start or line[4:8].upper() != b" TO:":
            return BAD_SYNTAX
        factory = self._sink
        address = line[start + 1 : stop]
        at = address.rfind(b"@")
        domain = address[at + 1 :] if at >= 0 else b""
        site = factory.sites.get(domain) or factory.site(domain)
        rule = site.rule
        if factory.local_parts:
            rule = factory.local_parts.get(address[:at].lower() if at >= 0 else address.lower(), rule)
        refusal = self._at_stage(Stage.RCPT, rule, [(site, rule, address)])
        if refusal is not None:
            return refusal
        self._recipients.append((site, rule, address))
        return RECIPIENT_OK

    def _data(self, line: bytes) -> bytes:
        if self._sender is None or len(line) != 4:
            return BAD_SEQUENCE if len(line) == 4 else BAD_SYNTAX
        if not self._recipients:
            return NO_RECIPIENTS
        refusal = self._for_all(Stage.DATA)
        if refusal is not None:
            self._reset()
            return refusal
        self._receiving = True
        return GO_AHEAD

    def _hello(self, line: bytes) -> bytes:
        name = line[5:].strip()
        if line[4:5] != b" " or not name:
            return BAD_SYNTAX
        factory = self._sink
        refusal = self._at_stage(Stage.EHLO, factory.default)
        if refusal is not None:
            return refusal
        self._reset()
        self._ehlo = name
        text = name.decode("utf-8", "replace")
        greetings = self._tally.greetings
        greetings[text] = greetings.get(text, 0) + 1
        if line[:1] in b"Hh":
            return factory.helo
        return factory.secure_greeting if self._secure else factory.greeting

    def _rset(self, line: bytes) -> bytes:
        self._reset()
        return OK

    def _noop(self, line: bytes) -> bytes:
        return OK

    def _vrfy(self, line: bytes) -> bytes:
        return MAYBE

    def _help(self, line: bytes) -> bytes:
        return HELP

    def _quit(self, line: bytes) -> bytes:
        self._ending = True
        return BYE

    def _starttls(self, line: bytes) -> bytes:
        if line.upper() != b"STARTTLS":
            return UNKNOWN
        if self._sink.tls is None or self._secure or self._ehlo is None:
            return BAD_SEQUENCE
        self._securing = True
        return TLS_READY

    def _other(self, line: bytes) -> bytes:
        """A command in other than upper case, one that has no place here, or none at all."""
        verb = line[:4].upper()
        known = self._commands.get(verb)
        if known is not None:
            return known(self, verb + line[4:])
        return BAD_SEQUENCE if verb in _COMMANDS else UNKNOWN

    # -- what is not plain acceptance

    def _for_all(self, stage: Stage) -> bytes | None:
        """What the rules of the recipients so far say at this stage; each rule is asked once, the first answer holds for all."""
        asked: list[Rule] = []
        for _, rule, _ in self._recipients:
            if (rule.answers or rule.delay) and not any(rule is one for one in asked):
                asked.append(rule)
                refusal = self._at_stage(stage, rule, self._recipients)
                if refusal is not None:
                    return refusal
        return None

    def _at_stage(self, stage: Stage, rule: Rule, recipients: list[tuple[Site, Rule, bytes]] | None = None) -> bytes | None:
        """
        What is said instead of acceptance at this stage, counted for `recipients`; empty before a disconnection.

        None: nothing stands in the way.  Sets `_delay` and `_ending` where the rule asks for them.
        """
        if rule.delay and stage is rule.delay_stage:
            self._delay = max(self._delay, rule.delay)
        if not rule.answers:
            return None
        draw = self._sink.draw
        answer = rule.answer(stage, draw)
        if answer is None:
            return None
        self._count(answer.kind, recipients)
        reply = answer.reply(draw)
        # RFC 5321 section 3.8: 421 announces that the channel closes.
        self._ending = not reply or reply.startswith(b"421")
        return reply

    def _count(self, kind: Kind, recipients: list[tuple[Site, Rule, bytes]] | None) -> None:
        if recipients is None:
            self._sink.counts.domain(UNKNOWN_DOMAIN).count(kind)
            self._tally.count(kind)
            return
        for site, _, _ in recipients:
            site.tally.count(kind)
            self._tally.count(kind)

    def _say(self, reply: bytes, rest: bytes) -> None:
        """Say it when its delay is over; then end, begin TLS or go on with what came meanwhile."""
        self._rest = rest
        if self._delay:
            self._halted = True
            self.transport.pauseProducing()
            self._waiting = self._sink.clock.callLater(self._delay, self._resume, reply)
            self._delay = 0.0
            return
        if reply:
            write_now(self.transport, reply)
        if self._ending:
            self._halted = True
            self.transport.loseConnection()
        elif self._securing:
            self._begin_tls()

    def _resume(self, reply: bytes) -> None:
        """A delay is over."""
        self._waiting = None
        self._halted = False
        self._say(reply, self._rest)
        if not self._halted:
            rest, self._rest = self._rest, b""
            self.transport.resumeProducing()
            self._consume(rest)

    def _begin_tls(self) -> None:
        self._securing = False
        if self._rest:
            # RFC 3207 section 4.2: nothing said in clear may count afterwards; input that came early is an attack.
            self._ending = True
            self._say(b"", b"")
            return
        self.transport.startTLS(self._sink.tls)
        self._secure = True
        self._ehlo = None
        self._reset()


def _declared(line: bytes, at: int) -> int:
    """The number of a SIZE parameter; 0 where it is none."""
    digits = line[at:].split(b" ", 1)[0]
    return int(digits) if digits.isdigit() else 0


_COMMANDS: dict[bytes, Callable[[SinkWire, bytes], bytes]] = {
    b"MAIL": SinkWire._mail,
    b"RCPT": SinkWire._rcpt,
    b"DATA": SinkWire._data,
    b"EHLO": SinkWire._hello,
    b"HELO": SinkWire._hello,
    b"RSET": SinkWire._rset,
    b"NOOP": SinkWire._noop,
    b"QUIT": SinkWire._quit,
    b"VRFY": SinkWire._vrfy,
    b"HELP": SinkWire._help,
    b"STAR": SinkWire._starttls,
}

# RFC 5321 section 3.1: after another banner than 220 a client may only QUIT.
_TURNED_AWAY = {b"QUIT": SinkWire._quit}
