"""The real server with less than it would like: memory, file descriptors, privileges; and with systemd around it."""

import os
import pwd
import re
import signal
import smtplib
import socket
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.peers.evidence import of_type
from tests.peers.support import SPOOL, TWISTD, PeerTestCase, Server, program, wait_until

MIB = 1 << 20
CLIENTS = int(os.environ.get("KUMOTWIST_LARGE_MESSAGES", "20"))  # that send 20 MiB each at the same time

NOWHERE = """
queues:
  queue:
    default: {retry_interval: 1 hour, max_retry_interval: 1 hour, protocol: {smtp: {mx_list: ["[127.0.0.9]:9"]}}}
shaping:
  rules:
    default: {prohibited_hosts: []}
"""


def most_memory(server: Server) -> int:
    """The most that the process has ever had resident, in octets."""
    assert server.process is not None
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


class MemoryTests(PeerTestCase):
    """memory.hard_limit."""

    HARD = 320 * MIB

    def send(self, server: Server, octets: bytes, recipients: int, answers: "Counter[int]", size: bool) -> None:
        try:
            with smtplib.SMTP(server.host, server.port, timeout=60) as client:
                client.ehlo("c.example")
                code, _ = client.mail("a@example.net", [f"SIZE={len(octets)}"] if size else [])
                taken = 0
                for n in range(recipients if code == 250 else 0):
                    said, _ = client.rcpt(f"b{n}@example.org")
                    taken += said == 250
                if taken:
                    code, _ = client.data(octets)
                answers[code] += 1
                answers[-1] += taken if code == 250 else 0  # how many recipients
        except smtplib.SMTPConnectError as refused:
            answers[refused.smtp_code] += 1

    def test_many_large_messages_at_once_never_exceed_it(self) -> None:
        server = self.server(NOWHERE + f"memory: {{hard_limit: {self.HARD}}}\n")
        octets = b"Subject: x\r\n\r\n" + (b"y" * 510 + b"\r\n") * 2048 * 20
        octets = octets[: 20 * MIB - 2] + b"\r\n"
        answers: Counter[int] = Counter()
        senders = [threading.Thread(target=self.send, args=(server, octets, 1, answers, n % 2 == 0)) for n in range(CLIENTS)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        self.assertLess(most_memory(server), self.HARD)
        taken = answers.pop(-1)
        self.assertEqual(set(answers) - {250, 452, 421}, set(), answers)
        self.assertGreater(taken, 0)
        self.assertEqual(sum(answers.values()), CLIENTS)
        # A large one to very many, first declared, then not.
        answers.clear()
        wait_until(lambda: self.alone(server, octets, answers), "a large message is taken again")
        self.send(server, octets, 1024, answers, size=True)
        self.send(server, octets, 1024, answers, size=False)
        self.assertLess(most_memory(server), self.HARD)
        taken += answers.pop(-1)
        self.assertEqual(set(answers) - {250, 452, 421}, set(), answers)
        server.stop()
        self.assertEqual(len(of_type(server.records(), "Reception")), taken)
        self.assertEqual(len(server.spooled()), taken)

    def alone(self, server: Server, octets: bytes, answers: "Counter[int]") -> bool:
        before = answers[250]
        self.send(server, octets, 1, answers, size=True)
        return answers[250] > before


class FullDiskTests(PeerTestCase):
    """A file system that really is full: a small one, in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = self.place / "server" / "spool"
        self.disk.mkdir(parents=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", self.disk], capture_output=True, check=False)
        if done.returncode:
            raise SkipTest("only root can mount a file system")
        self.addCleanup(lambda: subprocess.run(["umount", self.disk], check=False))

    def send(self, server: Server) -> int:
        try:
            with smtplib.SMTP(server.host, server.port, timeout=60) as client:
                client.sendmail("a@example.net", "b@example.org", b"Subject: x\r\n\r\n" + (b"y" * 510 + b"\r\n") * 400)
            return 250
        except smtplib.SMTPResponseException as refused:
            return refused.smtp_code

    def fill_and_free(self, kind: str) -> None:
        server = self.server(NOWHERE, f"spool: {{path: spool, kind: {kind}, min_free_space: 0, min_free_inodes: 0}}\n")
        answers = [self.send(server) for _ in range(10)]
        while answers[-3:].count(250):
            answers.append(self.send(server))
            self.assertLess(len(answers), 500)
        self.assertGreater(answers.count(250), 10)
        self.assertEqual(set(answers), {250, 451, 421})
        # A database goes on once there is room for all that it keeps in memory, some 230 MiB.
        subprocess.run(["mount", "-o", "remount,size=600m", self.disk], check=True)
        wait_until(lambda: self.send(server) == 250, "mail is taken again", every=0.5)
        answers += [250] + [self.send(server) for _ in range(5)]
        server.kill()
        self.assertEqual(len(server.spooled(kind)), answers.count(250))

    def test_a_database_refuses_what_it_cannot_keep_and_goes_on_when_there_is_room(self) -> None:
        self.fill_and_free("rocksdb")

    def test_so_does_a_directory(self) -> None:
        self.fill_and_free("local_disk")


class DescriptorTests(PeerTestCase):
    """RLIMIT_NOFILE."""

    def test_a_flood_of_connections_costs_only_those_that_are_too_many(self) -> None:
        prefix = (program("prlimit", "util-linux"), "--nofile=100:100")
        server = self.server(NOWHERE, prefix=prefix)
        flood = []
        for _ in range(300):
            one = socket.create_connection((server.host, server.port), timeout=30)
            one.settimeout(30)
            flood.append(one)
        self.assertEqual(flood[0].recv(4), b"220 ")
        for one in flood:
            one.close()

        def taken() -> bool:
            try:
                with smtplib.SMTP(server.host, server.port, timeout=30) as client:
                    client.sendmail("a@example.net", "b@example.org", b"Subject: x\r\n\r\nx\r\n")
                return True
            except (OSError, smtplib.SMTPException):
                return False

        wait_until(taken, "mail is taken after the flood")
        server.kill()
        self.assertEqual(len(server.spooled()), 1)


class Supervised(Server):
    """The server as systemd would start it: with a socket of the parent's, and one to tell it things."""

    def __init__(self, place: Path, config: str) -> None:
        super().__init__(place, config)
        self.listening = socket.create_server((self.host, self.port), backlog=500)
        self.told_in = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told_in.bind(str(place / "notify"))
        self.told_in.setblocking(False)
        self.told: list[str] = []

    def launch(self) -> None:
        code = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); "
            "os.environ['LISTEN_PID'] = os.environ['WATCHDOG_PID'] = str(os.getpid()); "
            "os.execv(sys.argv[2], sys.argv[2:])"
        )
        environ = {**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(self.place / "notify"), "WATCHDOG_USEC": "400000"}
        number = self.listening.fileno()
        with self.said_in.open("ab") as output:
            self._from = output.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, str(number), *self._argv],
                cwd=self.place, env=environ, pass_fds=(number,), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def was_told(self, state: str) -> bool:
        while True:
            try:
                self.told.append(self.told_in.recv(4096).decode())
            except BlockingIOError:
                return any(one.startswith(state) for one in self.told)

    def close(self) -> None:
        self.listening.close()
        self.told_in.close()


class SystemdTests(PeerTestCase):
    def supervised(self) -> Supervised:
        server = Supervised(self.place, SPOOL + NOWHERE)
        self.addCleanup(server.close)
        return self.started(server)

    def test_a_restart_under_load_refuses_no_connection(self) -> None:
        server = self.supervised()
        ends = threading.Event()
        outcomes: Counter[str] = Counter()
        counting = threading.Lock()

        def send() -> None:
            while not ends.is_set():
                try:
                    with smtplib.SMTP(server.host, server.port, timeout=90) as client:
                        client.sendmail("a@example.net", "b@example.org", b"Subject: x\r\n\r\nx\r\n")
                        with counting:
                            outcomes["taken"] += 1
                except ConnectionRefusedError:
                    outcomes["refused"] += 1
                except (OSError, smtplib.SMTPException) as fault:
                    told = "421" in str(fault) or isinstance(fault, smtplib.SMTPServerDisconnected)  # it had a connection
                    outcomes["told" if told else repr(fault)] += 1

        senders = [threading.Thread(target=send) for _ in range(4)]
        for sender in senders:
            sender.start()
        for _ in range(2):
            before = outcomes["taken"]
            wait_until(lambda before=before: outcomes["taken"] > before + 50, "load")  # type: ignore[misc]  # bound at once
            server.stop()
            server.start()
        before = outcomes["taken"]
        wait_until(lambda: outcomes["taken"] > before + 50, "load after the restarts")
        ends.set()
        for sender in senders:
            sender.join()
        server.stop()
        self.assertEqual(set(outcomes) - {"taken", "told"}, set(), outcomes)
        self.assertEqual(len(server.spooled()), outcomes["taken"])

    def test_it_says_when_it_is_ready_alive_reloading_and_stopping(self) -> None:
        server = self.supervised()
        wait_until(lambda: server.was_told("READY=1"), "it is ready")
        wait_until(lambda: server.told.count("WATCHDOG=1") > 2 if server.was_told("WATCHDOG=1") else False, "it is alive")
        server.told.clear()
        server.signal(signal.SIGHUP)
        wait_until(lambda: server.was_told("READY=1"), "it has reloaded")
        self.assertRegex(next(one for one in server.told if one.startswith("RELOADING")), r"\ARELOADING=1\nMONOTONIC_USEC=\d+\Z")
        server.stop()
        self.assertTrue(server.was_told("STOPPING=1"))

    def test_the_units_that_we_ship_are_what_systemd_takes(self) -> None:
        place = Path(__file__).resolve().parent.parent.parent / "conf" / "systemd"
        service = (place / "kumotwist.service").read_text()
        for line in ("Type=notify-reload", "NoNewPrivileges=yes", "UMask=0027"):
            self.assertIn(f"\n{line}\n", service)
        self.assertIn("\nListenStream=0.0.0.0:25\n", (place / "kumotwist.socket").read_text())


class Lesser(Server):
    """The server started by root, with a port that only root may bind, and to go on as nobody."""

    def __init__(self, place: Path, config: str, identity: Sequence[int]) -> None:
        super().__init__(place, config)
        self.port = 925
        self.configure(config)
        self._argv = [*TWISTD, "-n", "--pidfile=", f"--uid={identity[0]}", f"--gid={identity[1]}", "--umask=0", *self._argv[-3:]]


class PrivilegeTests(PeerTestCase):
    def test_a_port_below_1024_is_bound_before_privileges_are_dropped_and_files_are_tight(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can drop privileges")
        nobody = pwd.getpwnam("nobody")
        for one in (self.place, *self.place.parents):
            if not one.stat().st_mode & 0o001:
                raise SkipTest(f"{one} is closed to nobody")
        os.chown(self.place, nobody.pw_uid, nobody.pw_gid)
        server = self.started(Lesser(self.place, SPOOL + NOWHERE, (nobody.pw_uid, nobody.pw_gid)))
        assert server.process is not None
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        self.assertRegex(status, rf"Uid:\s+{nobody.pw_uid}\s+{nobody.pw_uid}\s+{nobody.pw_uid}")
        with smtplib.SMTP(server.host, server.port, timeout=30) as client:
            client.sendmail("a@example.net", "b@example.org", b"Subject: x\r\n\r\nx\r\n")
        server.wait_for_records(lambda records: of_type(records, "Reception"), "the message")
        server.stop()
        loose = []
        for name in ("spool", "log"):
            for one in ((self.place / name), *(self.place / name).rglob("*")):
                found = one.stat()
                self.assertEqual(found.st_uid, nobody.pw_uid, one)
                if found.st_mode & stat.S_IRWXO or found.st_mode & stat.S_IWGRP:
                    loose.append((str(one.relative_to(self.place)), oct(found.st_mode)))
        # What is inside of the database's directory is behind that directory's mode.
        self.assertEqual([one for one in loose if not one[0].startswith("spool/")], [("log", "0o40755")])
