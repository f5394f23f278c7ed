"""
Running whole programs against each other: our server and our sink here, foreign peers in their own modules.

Everything lives in a temporary directory, listens on a free port of an address in 127.0.0.0/8, and is ended when the test is
over.  Every wait has a generous end, so that a program that hangs fails its test; no verdict depends on how long something took.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from kumotwist.mail.message import Message
from tests.peers.evidence import FINAL, Record, journal_in, lines_of, records_in, spooled_in

T = TypeVar("T")

PATIENCE = 90.0  # seconds that anything may take on a slow machine before it counts as not happening
LOOK_AGAIN = 0.05  # seconds between two looks

# Each role has an address of its own, and clients connect from 127.0.0.1: so no client's port can be the one that a server
# which is just being restarted needs.
SERVER_HOST = "127.0.0.2"
SINK_HOST = "127.0.0.3"

TWISTD = (sys.executable, "-c", "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()")
KUMOTWIST = (sys.executable, "-m", "kumotwist")


def lacking(reason: str) -> None:
    """A peer is missing: the test is skipped and says why, or fails where the peers are required."""
    if os.environ.get("KUMOTWIST_REQUIRE_PEERS"):
        raise AssertionError(f"{reason} (and KUMOTWIST_REQUIRE_PEERS is set)")
    raise SkipTest(reason)


def program(name: str, package: str) -> str:
    """The path of a program, which may lie where only root looks."""
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        lacking(f"{name} (Debian package `{package}`) is not installed")
    assert found is not None
    return found


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def wait_until(look: Callable[[], T], what: str, *, patience: float = PATIENCE, every: float = LOOK_AGAIN) -> T:
    """What `look` returns, as soon as that is true.  every: seconds between two looks."""
    ends = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > ends:
            raise AssertionError(f"after {patience:g} s still not: {what}")
        time.sleep(every)


class Running:
    """A program in the background.  prefix: what to start it with, such as `nsenter ...`."""

    def __init__(self, place: Path, name: str, argv: Sequence[str], prefix: Sequence[str] = ()) -> None:
        self.name = name
        self.said_in = place / f"{name}.out"
        self._argv = [*prefix, *argv]
        self._place = place
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Begin, without waiting until it is ready."""
        with self.said_in.open("ab") as output:
            self._from = output.tell()
            self.process = subprocess.Popen(
                self._argv, cwd=self._place, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def start(self) -> None:
        """Begin, unless it has begun; returns when it is ready."""
        if not self.runs:
            self.launch()

    def said(self) -> str:
        """What it has said since it was started last."""
        with self.said_in.open("rb") as output:
            output.seek(self._from)
            return output.read().decode("utf-8", "replace")

    def said_at_all(self) -> str:
        return self.said_in.read_text("utf-8", "replace")

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def hear(self, phrase: str) -> str:
        """Wait until it has said that; returns the rest of the line.  Fails if it ends before."""

        def look() -> str | None:
            alive = self.runs
            _, found, after = self.said().partition(phrase)
            if found and "\n" in after:
                return after.partition("\n")[0] or "\n"
            if not alive:
                raise AssertionError(f"{self.name} ended before it said {phrase!r}:\n{self.said()}")
            return None

        return str(wait_until(look, f"{self.name} says {phrase!r}")).strip()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """Its exit status, once it has ended by itself."""
        assert self.process is not None
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {patience:g} s:\n{self.said()[-3000:]}") from None

    def kill(self) -> None:
        if self.runs:
            self.signal(signal.SIGKILL)
            self.wait()


class Server(Running):
    """
    Our server.  config: YAML beyond FRAME; `{listen}` in it is the address to listen on, the same at every start.

    Without `esmtp_listeners` it has one with defaults.
    """

    def __init__(self, place: Path, config: str, prefix: Sequence[str] = ()) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self.host, self.port = SERVER_HOST, free_port(SERVER_HOST)
        self.configure(config)
        argv = [*TWISTD, "-n", "--pidfile=", "kumotwist", "--config", str(place / "kumotwist.yaml")]
        super().__init__(place, "server", argv, prefix)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def configure(self, config: str) -> None:
        """Holds from the next start on."""
        whole = FRAME + ("" if "esmtp_listeners" in config else LISTENER) + config
        (self.place / "kumotwist.yaml").write_text(whole.replace("{listen}", f'"{self.address}"'), encoding="utf-8")

    def start(self) -> None:
        super().start()
        self.hear("ESMTP listens on")

    def stop(self) -> None:
        """As an operator stops it; fails if it did not end in order."""
        self.signal(signal.SIGTERM)
        self.wait()
        said = self.said()
        assert "Server Shut Down" in said, said[-3000:]
        assert "Traceback" not in said, said[-6000:]

    # What it left

    def records(self) -> list[Record]:
        """The mail log so far."""
        return records_in(self.place / "log")

    def wait_for_records(self, enough: Callable[[list[Record]], object], what: str, every: float = LOOK_AGAIN) -> list[Record]:
        """The mail log, once there is enough in it."""
        found: list[Record] = []

        def look() -> object:
            found[:] = self.records()
            return enough(found)

        try:
            wait_until(look, what, every=every)
        except AssertionError:
            told = [f"{one['type']} {one['recipient']} {one['response']['code']} {one['response']['content']}" for one in found]
            raise AssertionError(f"not in the log: {what}\n" + "\n".join(told[-40:]) + "\n" + self.said()[-3000:]) from None
        return found

    def spooled(self, kind: str = "rocksdb") -> dict[str, Message]:
        """What the spool holds; only while the server does not run."""
        return spooled_in(self.place / "spool", kind)

    def journal(self, kind: str = "rocksdb") -> list[Record]:
        """The records that the journal holds; only while the server does not run."""
        return journal_in(self.place / "spool", kind)


# What every configuration begins with.
FRAME = """\
hostname: mta.peers.example
logs:
  log_dir: log
  min_free_space: 0
  min_free_inodes: 0
"""
LISTENER = "esmtp_listeners: [{listen: {listen}}]\n"
SPOOL = "spool: {path: spool, min_free_space: 0, min_free_inodes: 0}\n"


class Sink(Running):
    """Our sink.  It records what it accepts, and keeps the contents where `keep` is set."""

    def __init__(
        self,
        place: Path,
        behaviour: str = "",
        *,
        name: str = "sink",
        port: int | None = None,
        keep: bool = False,
        options: Sequence[str] = (),
        prefix: Sequence[str] = (),
    ) -> None:
        """keep: also the contents.  options: more of its command line."""
        place.mkdir(parents=True, exist_ok=True)
        self.recorded_in = place / f"{name}.jsonl"
        self.stats_in = place / f"{name}.json"
        self.kept_in = place / f"{name}.contents"
        self.host, self.port = SINK_HOST, port or free_port(SINK_HOST)
        (place / f"{name}.yaml").write_text(behaviour, encoding="utf-8")
        argv = [*KUMOTWIST, "sink", "--listen", f"{self.host}:{self.port}", "--seed", "1"]
        argv += ["--record", str(self.recorded_in), "--stats", str(self.stats_in)]
        argv += ["--behaviour", str(place / f"{name}.yaml")] if behaviour else []
        argv += ["--dump", str(self.kept_in)] if keep else []
        super().__init__(place, name, [*argv, *options], prefix)

    @property
    def mx(self) -> str:
        """As an entry of `mx_list`."""
        return f'"[{self.host}]:{self.port}"'

    def start(self) -> None:
        super().start()
        self.hear("listening on")

    def end(self) -> None:
        """Let it write what it still has to write."""
        if self.runs:
            self.signal(signal.SIGTERM)
            self.wait()

    def accepted(self) -> list[Record]:
        """A record of each message that it has accepted, in order; those of the last quarter of a second may lack."""
        return lines_of(self.recorded_in)

    def count(self) -> int:
        """How many that are."""
        return self.recorded_in.read_bytes().count(b"\n") if self.recorded_in.exists() else 0

    def wait_for(self, count: int) -> list[Record]:
        """What it has accepted, once it is that many messages.  That no more come is for the caller to see at the end."""
        try:
            wait_until(lambda: self.count() >= count, f"{count} messages at the {self.name}")
        except AssertionError as late:
            raise AssertionError(f"{late}; it has {self.count()}") from None
        return self.accepted()

    def contents(self) -> list[bytes]:
        """What it kept, in the order of `accepted`."""
        return [path.read_bytes() for path in sorted(self.kept_in.glob("*.eml"))]

    def stats(self) -> dict[str, Any]:
        """Its counts, as of now, or of its end."""
        if self.runs:
            self.stats_in.unlink(missing_ok=True)
            self.signal(signal.SIGUSR1)
            wait_until(self.stats_in.exists, "the sink writes its counts")
        counts: dict[str, Any] = msgspec.json.decode(self.stats_in.read_bytes())
        return counts

    def wait_until_idle(self) -> None:
        """Until nobody is connected any more."""
        wait_until(lambda: self.stats()["open"] == 0, "the last connection to the sink ends")


class Traffic(Running):
    """Our load generator."""

    def __init__(self, place: Path, target: str, *options: str, name: str = "traffic", prefix: Sequence[str] = ()) -> None:
        self.ids_in = place / f"{name}.ids"
        argv = [*KUMOTWIST, "traffic-gen", "--target", target, "--ids", str(self.ids_in), "--json", *options]
        super().__init__(place, name, argv, prefix)

    def results(self) -> dict[str, Any]:
        """Its own account, once it has ended by itself."""
        code = self.wait(4 * PATIENCE)
        try:
            results: dict[str, Any] = msgspec.json.decode(self.said().strip().splitlines()[-1].encode())
        except (IndexError, msgspec.DecodeError):
            raise AssertionError(f"traffic-gen ended with {code}:\n{self.said()}") from None
        return results

    def count(self) -> int:
        """How many messages the server has answered 250 to."""
        return self.ids_in.read_bytes().count(b"\n") if self.ids_in.exists() else 0

    def wait_for_more(self, more: int) -> None:
        """Until so many more have been accepted: a server after whose start nothing works must not pass for one that does."""
        wanted = self.count() + more
        wait_until(lambda: self.count() >= wanted, f"{more} more messages are accepted")

    def acknowledged(self) -> list[Record]:
        """Each message that the server has answered 250 to."""
        return lines_of(self.ids_in)


class Startable(Protocol):
    """What has a beginning and an end."""

    def start(self) -> None: ...

    def kill(self) -> None:
        """End it if it runs, whatever state it is in."""


Started = TypeVar("Started", bound=Startable)


class PeerTestCase(SynchronousTestCase):
    """A directory for each test, and an end for everything that it starts."""

    maxDiff = None

    def setUp(self) -> None:
        if sys.platform != "linux":
            raise SkipTest("only Linux answers on all of 127.0.0.0/8")
        # Not trial's: daemons that give up root must be able to enter, and their sockets' names must be short.
        self.place = Path(tempfile.mkdtemp(prefix="kumotwist-"))
        if "KUMOTWIST_KEEP_PEERS" not in os.environ:
            self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.place.chmod(0o755)

    def started(self, running: Started) -> Started:
        """Start it, and end it when the test is over."""
        self.addCleanup(running.kill)
        running.start()
        return running

    def server(self, config: str, spool: str = SPOOL, prefix: Sequence[str] = ()) -> Server:
        return self.started(Server(self.place / "server", spool + config, prefix))

    def sink(self, behaviour: str = "", **facts: Any) -> Sink:
        return self.started(Sink(self.place / facts.get("name", "sink"), behaviour, **facts))

    def load(self, server: Server, *options: str, name: str = "traffic", prefix: Sequence[str] = ()) -> dict[str, Any]:
        """Send so much traffic to its end; all of it must be accepted."""
        results = self.started(Traffic(self.place, server.address, *options, name=name, prefix=prefix)).results()
        self.assertEqual((results["refused"], results["lost"], results["unsent"]), (0, 0, 0), results)
        return results

    def run_to_end(self, *argv: str, input: bytes = b"") -> str:
        """Run a program that must end well; returns what it said."""
        done = subprocess.run(
            argv,
            cwd=self.place,
            input=input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=4 * PATIENCE,
            check=False,
        )
        said = done.stdout.decode("utf-8", "replace")
        self.assertEqual(done.returncode, 0, f"{' '.join(argv)}\n{said}")
        return said

    # What holds of every log

    def assert_books_balance(
        self, records: list[Record], spooled: Mapping[str, Message], never_accepted: Collection[str] = ()
    ) -> None:
        """
        Invariant 2: every message that was taken has one final record, or is in the spool; never both, never neither.

        never_accepted: ids of messages that may be there although no record tells of their reception.
        """
        taken = Counter(one["id"] for one in records if one["type"] == "Reception")
        ended = Counter(one["id"] for one in records if one["type"] in FINAL)
        self.assertEqual([one for one, times in taken.items() if times != 1], [], "received twice, says the log")
        self.assertEqual([one for one, times in ended.items() if times != 1], [], "ended twice, says the log")
        self.assertEqual(set(ended) & set(spooled), set(), "ended, and still in the spool")
        self.assertEqual(set(taken) - set(ended) - set(spooled), set(), "neither ended nor in the spool")
        self.assertEqual(
            (set(ended) | set(spooled)) - set(taken) - set(never_accepted), set(), "there without a record of its reception"
        )
