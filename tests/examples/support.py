"""
An example of conf/examples as a server that runs here, with receivers for all that it sends.

What is another than in the file as it stands:

    in the example                              here
    10.0.0.1, 10.0.0.2, 10.0.0.3                127.0.0.31, 127.0.0.32, 127.0.0.33: Linux answers on all of 127.0.0.0/8
    20.83.209.56                                127.0.0.34
    2001:db8:3333:4444:5555:6666:7777:8888      ::1
    127.0.0.1:2025, 0.0.0.0:25                  127.0.0.2:0, 0.0.0.0:0: a free port, as the server says
    port 25 of receivers                        the sink's, by `smtp_port` in the default shaping rule
    the system's name servers                   one of ours, which knows what `zone` says
    /var/spool, /var/log                        the test's directory

The default shaping rule also lets mail go to this machine, without TLS, and closes idle connections at once.  A policy that
answers for paths gets the same as further keywords.  Each test may substitute more, to be able to see what it is about.
"""

import atexit
import shutil
import signal
import smtplib
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from tests.dns.server import Answer, code, nothing, records
from tests.examples.nameserver import Nameserver
from tests.peers.evidence import Record, records_in
from tests.peers.support import TWISTD, PeerTestCase, Running, Sink, free_port, wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "conf" / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))

IP_1, IP_2, IP_3 = "127.0.0.31", "127.0.0.32", "127.0.0.33"
LITERAL = "127.0.0.34"
MX = "127.0.0.3"  # every domain's, unless `zone` says otherwise
SMARTHOST = "127.0.0.6"
NOBODY = "127.0.0.8"  # no one listens there
SERVER = "127.0.0.2"
BEHAVIOUR = "local_parts: {nosuchuser: {refuse: {share: 100, replies: [550 5.1.1 no such user]}}}"  # of all receivers
RECEIVERS = (SMARTHOST, IP_1, LITERAL, "[::1]")  # beside MX

SUBSTITUTES = {
    "2001:db8:3333:4444:5555:6666:7777:8888": "::1",
    "20.83.209.56": LITERAL,
    "10.0.0.1": IP_1,
    "10.0.0.2": IP_2,
    "10.0.0.3": IP_3,
    "127.0.0.1:2025": f"{SERVER}:0",
    "0.0.0.0:25": "0.0.0.0:0",
}


def zone() -> dict[str, Answer]:
    """What the name server knows."""
    plain = ["example.com", "example.net", "example.org", "mailboxes.example", "alias.example"]
    table = {f"{name} MX": records(f"{name}. 300 IN MX 10 mx.receivers.example.") for name in plain}
    table["small.example MX"] = records("small.example. 300 IN MX 10 small.receivers.example.")
    table["my.smarthost.com MX"] = records("my.smarthost.com. 300 IN MX 10 relay.smarthost.com.")
    table["v6.example MX"] = records("v6.example. 300 IN MX 10 v6.receivers.example.")
    addresses = {
        "mx.receivers.example": MX,
        "small.receivers.example": MX,
        "relay.smarthost.com": SMARTHOST,
        "smart.host.local": NOBODY,
    }
    for name, address in addresses.items():
        table[f"{name} A"] = records(f"{name}. 300 IN A {address}")
        table[f"{name} AAAA"] = nothing()
    table["v6.receivers.example A"] = records(f"v6.receivers.example. 300 IN A {MX}")
    table["v6.receivers.example AAAA"] = records("v6.receivers.example. 300 IN AAAA ::1")
    table["domain.to.be.smart.hosted"] = code("NXDOMAIN")
    return table


class Surroundings(Struct, frozen=True):
    """What the servers of all tests share."""

    sink: Sink
    nameserver: Nameserver


@cache
def surroundings() -> Surroundings:
    """Receivers and a name server, until the tests end."""
    place = Path(tempfile.mkdtemp(prefix="kumotwist-receivers-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    port = free_port(MX)
    options = [word for host in RECEIVERS for word in ("--listen", f"{host}:{port}")]
    sink = Sink(place, BEHAVIOUR, port=port, options=options)
    sink.start()
    atexit.register(sink.kill)
    return Surroundings(sink, Nameserver(zone()))


def _everywhere(port: int) -> dict[str, Any]:
    """What the default shaping rule says here."""
    paths: dict[str, Any] = {"prohibited_hosts": [], "smtp_port": port, "idle_timeout": "200 ms"}
    return paths | {"enable_tls": "Disabled", "enable_mta_sts": False}  # the name server knows of no policy for anyone


def _over(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merged, with what is given on top."""
    merged = dict(base)
    for key, value in given.items():
        below = merged.get(key)
        merged[key] = _over(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


class Example(Running):
    """A file of conf/examples as a running server.  substitutes: more of them."""

    def __init__(self, place: Path, name: str, substitutes: Mapping[str, str] | None = None) -> None:
        around = surroundings()
        self.place = place / name
        self.host, self.port = SERVER, 0
        self.shown = name
        paths = _everywhere(around.sink.port)
        keywords = ", ".join(f"{key}={value!r}" for key, value in paths.items())
        self._copy(SUBSTITUTES | {"make_egress_path(params)": f"make_egress_path(params, {keywords})"} | dict(substitutes or {}))
        config = self.place / f"{name}.yaml"
        frame = {
            "hostname": "mta.examplecorp.com",
            "spool": {"path": "spool", "min_free_space": 0, "min_free_inodes": 0},
            "logs": {"log_dir": "log", "meta": ["tenant", "campaign"], "min_free_space": 0, "min_free_inodes": 0},
            "dns": {"nameservers": [around.nameserver.address]},
            "shaping": {"rules": {"default": paths}},
        }
        whole = _over(yaml.safe_load(config.read_text("utf-8")), frame)
        config.write_text(yaml.safe_dump(whole, sort_keys=False), "utf-8")
        super().__init__(self.place, "server", [*TWISTD, "-n", "--pidfile=", "kumotwist", "--config", str(config)])

    def _copy(self, substitutes: Mapping[str, str]) -> None:
        """All examples, since one may name files beside it."""
        self.place.mkdir(parents=True)
        for path in EXAMPLES.iterdir():
            if path.is_file():
                text = path.read_text("utf-8")
                for given, here in substitutes.items():
                    text = text.replace(given, here)
                (self.place / path.name).write_text(text, "utf-8")

    def listening(self) -> "Example":
        """Itself, once it is."""
        self.port = int(self.hear("ESMTP listens on").rpartition(":")[2])
        return self

    def stop(self) -> None:
        """In order, and without a traceback in what it said."""
        self.signal(signal.SIGTERM)
        self.wait()
        assert "Traceback" not in self.said(), self.said()[-6000:]

    def records(self) -> list[Record]:
        return records_in(self.place / "log")


_NUMBERS = count(1)


class Sent(Struct, frozen=True):
    """A message that a server took or refused.  recipient: no other message in this run has it.  code, text: the last reply."""

    server: Example
    recipient: str
    code: int
    text: str


def send(
    server: Example, domain: str = "example.com", sender: str = "someone@sender.example", *, local: str = "", **headers: str
) -> Sent:
    """One message to that domain.  local: the local part, else one that no other has.  headers: X_Tenant is X-Tenant."""
    recipient = f"{local or f'r{next(_NUMBERS)}'}@{domain}"
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {**headers, "Subject": "An example"}.items()]
    content = "\r\n".join([*lines, "", "Hello", ""])
    with smtplib.SMTP(server.host, server.port, local_hostname="client.example", timeout=30) as client:
        client.ehlo()
        for step in (lambda: client.mail(sender), lambda: client.rcpt(recipient), lambda: client.data(content)):
            code, text = step()
            if code >= 400:
                break
    return Sent(server, recipient, code, text.decode("utf-8", "replace"))


class ExampleTestCase(PeerTestCase):
    """Each example as data and as policy, side by side."""

    def start_both(self, name: str, substitutes: Mapping[str, str] | None = None) -> list[Example]:
        """`NAME.yaml` and `NAME-policy.yaml`; they start at the same time, and end in order."""
        servers = [self.started(Example(self.place, form, substitutes)) for form in (name, f"{name}-policy")]
        return [server.listening() for server in servers]

    def start_policy(self, name: str, substitutes: Mapping[str, str] | None = None) -> Example:
        """`NAME-policy.yaml`, for what no data can say."""
        server = self.started(Example(self.place, f"{name}-policy", substitutes))
        return server.listening()

    def end(self, servers: list[Example]) -> None:
        """Every server must end in order; nothing may have gone wrong in it."""
        for server in servers:
            server.stop()

    def arrived(self, sent: Sent) -> Record:
        """What the receiver saw of it, once it is there: `ehlo`, `client` (where it came from), `local` (where to)."""
        sink = surroundings().sink
        self.assertEqual(sent.code, 250, f"{sent.server.shown}: {sent.text}")
        look: Callable[[], list[Record]] = lambda: [one for one in sink.accepted() if sent.recipient in one["recipients"]]  # noqa: E731
        try:
            found = wait_until(look, f"{sent.recipient} arrives")
        except AssertionError as late:
            told = [f"{one['type']} {one['queue']} {one['response']['content']}" for one in sent.server.records()]
            raise AssertionError(f"{sent.server.shown}: {late}\n" + "\n".join(told) + sent.server.said()[-2000:]) from None
        self.assertEqual(len(found), 1, "delivered once")
        return found[0]

    def record(self, sent: Sent, kind: str) -> Record:
        """The one record of that type about a message, once it is in the mail log."""

        def look() -> list[Record]:
            return [one for one in sent.server.records() if one["type"] == kind and one["recipient"] == sent.recipient]

        try:
            (found,) = wait_until(look, f"{kind} of {sent.recipient}")
        except AssertionError as late:
            raise AssertionError(f"{sent.server.shown}: {late}\n{sent.server.said()[-3000:]}") from None
        return found

    def assert_refused(self, sent: Sent, code: int, text: str) -> None:
        """With this reply, and nothing of it arrived."""
        self.assertEqual((sent.code, sent.text), (code, text), sent.server.shown)
        self.assertEqual([one for one in surroundings().sink.accepted() if sent.recipient in one["recipients"]], [])
