"""
End-to-end relay: load → server → sink, each in a process of its own, KumoTwist beside the bare loop and Postfix in one run.

    python benchmarks/relay.py [--messages N] [--sizes 1KiB,10KiB,100KiB] [--sessions 10,50] [--repeat 3] [--peers ...]

Prints for each cell the messages per second from the first connection to the last delivery, the server's CPU a message
(user and system, all its processes), and the ratio of both to the bare loop's in the same repetition: median and spread.
Postfix takes part where it is installed and we are root; it runs as an instance of its own in a temporary directory.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 120.0  # seconds a cell may take

CONFIG = """\
hostname: mta.bench.example
spool: {{path: {directory}/spool, min_free_space: 0, min_free_inodes: 0}}
logs: {{log_dir: {directory}/log, min_free_space: 0, min_free_inodes: 0}}
esmtp_listeners:
  - {{listen: "127.0.0.1:{port}"}}
queues:
  queue:
    default: {{protocol: {{smtp: {{mx_list: ["[127.0.0.1]:{sink}"]}}}}}}
shaping:
  rules:
    default: {{prohibited_hosts: [], enable_tls: Disabled}}
"""

POSTFIX = """\
compatibility_level = 3.6
queue_directory = {directory}/spool
data_directory = {directory}/data
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
mail_owner = postfix
myhostname = mta.bench.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{sink}
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtp_dns_support_level = disabled
alias_maps =
local_recipient_maps =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
default_process_limit = 120
in_flow_delay = 0
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nothing listens on port {port}")


def family(root: int) -> list[int]:
    """A process and all that it started."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(stat[1]), []).append(int(entry))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, ())
    return found


def cpu_seconds(root: int) -> float:
    """User and system time of the family, reaped children included."""
    total = 0
    for pid in family(root):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(int(stat[n]) for n in (11, 12, 13, 14))
    return total / TICKS


class Peer:
    """A server under test: started in a directory, listening on a port, relaying to the sink's."""

    def __init__(self, name: str, directory: Path, sink_port: int) -> None:
        self.name = name
        self.port = free_port()
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        getattr(self, f"_start_{name}")(sink_port)
        wait_for(self.port)

    def _spawn(self, *argv: str) -> None:
        with open(self.directory / "output", "wb") as output:
            self._process = subprocess.Popen(argv, stdout=output, stderr=output, cwd=self.directory)
        self.pid = self._process.pid

    def _start_kumotwist(self, sink_port: int) -> None:
        config = self.directory / "kumotwist.yaml"
        config.write_text(CONFIG.format(directory=self.directory, port=self.port, sink=sink_port))
        self._spawn(sys.executable, "-m", "twisted", "--reactor=epoll", "kumotwist", "--config", str(config))

    def _start_bare(self, sink_port: int) -> None:
        self._spawn(sys.executable, str(HERE / "bare_loop.py"), str(self.port), "127.0.0.1", str(sink_port), str(self.directory))

    def _start_postfix(self, sink_port: int) -> None:
        self.directory.chmod(0o755)
        self.directory.parent.chmod(0o755)
        etc = self.directory / "etc"
        for part in ("etc", "spool", "data"):
            (self.directory / part).mkdir()
        shutil.chown(self.directory / "data", "postfix")
        (etc / "main.cf").write_text(POSTFIX.format(directory=self.directory, sink=sink_port))
        lines = []
        for line in Path("/usr/share/postfix/master.cf.dist").read_text().splitlines():
            if not line or line[0] in "# \t":
                continue
            fields = line.split()
            if fields[0] in ("maildrop", "uucp", "ifmail", "bsmtp", "scalemail-backend", "mailman"):
                continue
            if fields[:2] == ["smtp", "inet"]:
                fields[0] = f"127.0.0.1:{self.port}"
            fields[4] = "n"
            lines.append(" ".join(fields))
        (etc / "master.cf").write_text("\n".join(lines) + "\n")
        started = subprocess.run(["postfix", "-c", str(etc), "start"], check=False, capture_output=True, text=True)
        if started.returncode:
            raise SystemExit(f"postfix does not start: {started.stdout}{started.stderr}")
        wait_for(self.port)
        self.pid = int((self.directory / "spool/pid/master.pid").read_text())

    def stop(self) -> None:
        if self._process is None:
            subprocess.run(["postfix", "-c", str(self.directory / "etc"), "stop"], check=False, capture_output=True)
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()


@contextmanager
def sink(directory: Path) -> Iterator[tuple[int, Path, int]]:
    """A sink's port, the file where it writes its counts on SIGUSR1, and its pid."""
    port, stats = free_port(), directory / "sink.json"
    with open(directory / "sink.out", "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "kumotwist", "sink", "--listen", f"127.0.0.1:{port}", "--stats", str(stats)],
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(port)
        yield port, stats, process.pid
    finally:
        process.terminate()
        process.wait(10)


def accepted(stats: Path, pid: int) -> int:
    """How many messages the sink has taken so far."""
    before = stats.stat().st_mtime_ns if stats.exists() else 0
    os.kill(pid, 10)
    for _ in range(200):
        time.sleep(0.01)
        if stats.exists() and stats.stat().st_mtime_ns != before:
            try:
                return int(json.loads(stats.read_text())["messages"])
            except (ValueError, KeyError):
                continue
    raise SystemExit("the sink does not answer")


def cell(peer: Peer, stats: Path, sink_pid: int, messages: int, size: str, sessions: int) -> dict[str, float]:
    """One load, until its last message has arrived."""
    before, cpu, began = accepted(stats, sink_pid), cpu_seconds(peer.pid), time.monotonic()
    load = subprocess.run(
        [
            *(sys.executable, "-m", "kumotwist", "traffic-gen", "--target", f"127.0.0.1:{peer.port}", "--json"),
            *("--messages", str(messages), "--concurrency", str(sessions), "--body-size", size),
            *("--messages-per-connection", "1000000", "--domain", "bench.example"),
        ],
        capture_output=True,
        check=False,
    )
    if load.returncode:
        raise SystemExit(f"{peer.name}: the load failed: {load.stdout.decode()[-500:]} {load.stderr.decode()[-500:]}")
    results = json.loads(load.stdout)
    injected = time.monotonic()
    arrived, seen = before, time.monotonic()
    while arrived < before + messages:
        now = accepted(stats, sink_pid) if injected else 0
        if now != arrived:
            arrived, seen = now, time.monotonic()
        if time.monotonic() - seen > PATIENCE:
            raise SystemExit(f"{peer.name}: {before + messages - arrived} messages did not arrive; see {peer.directory}")
    elapsed = seen - began - (injected - began - results["seconds"])
    time.sleep(0.3)
    return {
        "rate": messages / elapsed,
        "cpu": (cpu_seconds(peer.pid) - cpu) / messages * 1e6,
        "p50": results["latency"]["p50"] * 1e3,
        "p99": results["latency"]["p99"] * 1e3,
        "extra": arrived - before - messages,
    }


def run(options: argparse.Namespace) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for repetition in range(options.repeat):
        order = options.peers[repetition % len(options.peers) :] + options.peers[: repetition % len(options.peers)]
        for name in order:
            with tempfile.TemporaryDirectory(prefix="bench-") as place:
                directory = Path(place)
                (directory / name).mkdir()
                with sink(directory) as (port, stats, sink_pid):
                    peer = Peer(name, directory / name, port)
                    try:
                        cell(peer, stats, sink_pid, 500, "1KiB", 10)  # warm up
                        for size in options.sizes:
                            for sessions in options.sessions:
                                messages = options.messages // (5 if size.startswith("100") else 1)
                                found = cell(peer, stats, sink_pid, messages, size, sessions)
                                rows.append({"peer": name, "size": size, "sessions": sessions, "repetition": repetition, **found})
                                print(
                                    f"{name:10} {size:>7} {sessions:3} sessions  {found['rate']:7.0f} msg/s  "
                                    f"{found['cpu']:6.0f} µs CPU  p50 {found['p50']:6.1f} ms  p99 {found['p99']:6.1f} ms",
                                    flush=True,
                                )
                    finally:
                        peer.stop()
    return rows


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def report(rows: list[dict[str, object]], peers: list[str]) -> None:
    print("\n| size | sessions | peer | msg/s | CPU µs | rate / bare | CPU / bare | p99 ms |\n|---|---|---|---|---|---|---|---|")
    keys = list(dict.fromkeys((row["size"], row["sessions"]) for row in rows))
    for size, sessions in keys:
        here = [row for row in rows if (row["size"], row["sessions"]) == (size, sessions)]
        bare = {row["repetition"]: row for row in here if row["peer"] == "bare"}
        for name in peers:
            mine = [row for row in here if row["peer"] == name]

            def median(key: str, mine: list[dict[str, object]] = mine) -> float:
                return statistics.median(float(str(row[key])) for row in mine)

            def ratio(key: str, mine: list[dict[str, object]] = mine, bare: dict[object, dict[str, object]] = bare) -> str:
                pairs = [
                    float(str(row[key])) / float(str(bare[row["repetition"]][key])) for row in mine if row["repetition"] in bare
                ]
                return spread(pairs) if pairs else "-"

            print(
                f"| {size} | {sessions} | {name} | {median('rate'):.0f} | {median('cpu'):.0f} "
                f"| {ratio('rate')} | {ratio('cpu')} | {median('p99'):.1f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000, help="a cell; a fifth of it at 100 KiB")
    parser.add_argument("--sizes", type=lambda text: text.split(","), default=["1KiB", "10KiB", "100KiB"])
    parser.add_argument("--sessions", type=lambda text: [int(one) for one in text.split(",")], default=[10, 50])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peers", type=lambda text: text.split(","), default=None)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if options.peers is None:
        postfix = shutil.which("postfix") is not None and os.geteuid() == 0
        options.peers = ["bare", "kumotwist", *(["postfix"] if postfix else [])]
        if not postfix:
            print("postfix is not installed, or we are not root: it does not take part")
    rows = run(options)
    report(rows, options.peers)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
