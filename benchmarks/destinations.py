"""
Many destinations at once: the healthy ones beside dead and slow ones, with the real server and sinks on loopback.

    python benchmarks/destinations.py [--destinations N] [--messages N] [--rate N] [--repeat 3]

Each destination has an address of its own in 127.0.0.0/8 (Linux).  A third accepts at once; a third refuses connections; a
third accepts, and takes seconds for each message.  The same healthy mail is sent alone and among the others; printed are the
latencies from reception to delivery, as the mail log has them, and their ratio.  In both runs healthy mail comes at the same
pace, well below what the server can do: what is measured is waiting, not work.
"""

import argparse
import json
import os
import random
import shutil
import smtplib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

PATIENCE = 300.0  # seconds a run may take
SLOW = "3 seconds"

HEAD = """\
hostname: mta.bench.example
spool: {{path: {directory}/spool, min_free_space: 0, min_free_inodes: 0}}
logs: {{log_dir: {directory}/log, compression: none, min_free_space: 0, min_free_inodes: 0}}
esmtp_listeners:
  - {{listen: "127.0.0.1:{port}"}}
shaping:
  rules:
    default: {{prohibited_hosts: [], enable_tls: Disabled, connection_limit: 4, idle_timeout: 1}}
queues:
  queue:
    default: {{retry_interval: 10 minutes}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def address(n: int) -> str:
    """One of its own for each destination."""
    return f"127.{10 + n // 62500}.{n // 250 % 250}.{n % 250 + 1}"


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


@contextmanager
def program(directory: Path, name: str, *argv: str) -> Iterator[None]:
    with open(directory / f"{name}.out", "wb") as output:
        process = subprocess.Popen([sys.executable, "-m", *argv], stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def configuration(directory: Path, port: int, sinks: tuple[int, int, int], destinations: int) -> Path:
    lines = [HEAD.format(directory=directory, port=port)]
    for n in range(destinations):
        mx = f"[{address(n)}]:{sinks[n % 3]}"
        lines.append(f'    d{n}.example: {{protocol: {{smtp: {{mx_list: ["{mx}"]}}}}}}\n')
    path = directory / "kumotwist.yaml"
    path.write_text("".join(lines))
    return path


def send(port: int, domains: list[str], rate: float) -> None:
    """One message for each, so many a second, over a few sessions."""
    began = time.monotonic() + 1.0

    def session(some: list[tuple[int, str]]) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            for n, domain in some:
                time.sleep(max(0.0, began + n / rate - time.monotonic()))
                client.sendmail("a@bench.example", [f"x@{domain}"], b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 14)

    threads = [threading.Thread(target=session, args=(list(enumerate(domains))[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def latencies(directory: Path, wanted: int) -> list[float]:
    """Of the healthy destinations' messages, once all have arrived."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = []
        for segment in (directory / "log").glob("*"):
            for line in segment.read_bytes().splitlines():
                record = json.loads(line)
                if record["type"] == "Delivery" and int(record["queue"][1:].partition(".")[0]) % 3 == 0:
                    ended, began = (datetime.fromisoformat(record[key]) for key in ("event_time", "created_time"))
                    found.append((ended - began).total_seconds())
        if len(found) >= wanted:
            return found
        time.sleep(1.0)
    raise SystemExit(f"{wanted - len(found)} messages for healthy destinations did not arrive; see {directory}")


def run(destinations: int, messages: int, rate: float, *, only_healthy: bool) -> list[float]:
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    port, well, dead, slow = (free_port() for _ in range(4))
    behaviour = directory / "slow.yaml"
    behaviour.write_text(f"default: {{delay: {SLOW}}}\n")
    config = configuration(directory, port, (well, dead, slow), destinations)
    kinds = range(0, destinations, 3) if only_healthy else range(destinations)
    domains = [f"d{n}.example" for n in kinds] * messages
    random.Random(7).shuffle(domains)
    with (
        program(directory, "well", "kumotwist", "sink", "--listen", f"0.0.0.0:{well}"),
        program(directory, "slow", "kumotwist", "sink", "--listen", f"0.0.0.0:{slow}", "--behaviour", str(behaviour)),
        program(directory, "server", "twisted", "--reactor=epoll", "kumotwist", "--config", str(config)),
    ):
        for each in (well, slow, port):
            wait_for(each)
        send(port, domains, rate if only_healthy else 3 * rate)
        found = latencies(directory, len(range(0, destinations, 3)) * messages)
    shutil.rmtree(directory)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--destinations", type=int, default=5000)
    parser.add_argument("--messages", type=int, default=3, help="for each destination")
    parser.add_argument("--rate", type=float, default=50, help="healthy messages a second, in both runs")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    for _ in range(options.repeat):
        alone = run(options.destinations, options.messages, options.rate, only_healthy=True)
        among = run(options.destinations, options.messages, options.rate, only_healthy=False)
        ratios.append(statistics.median(among) / statistics.median(alone))
        for name, found in (("alone", alone), ("among others", among)):
            p99 = sorted(found)[int(len(found) * 0.99)]
            print(f"{name:13} {len(found):6} messages  median {statistics.median(found) * 1e3:7.1f} ms  p99 {p99 * 1e3:7.1f} ms")
        print(f"ratio of the medians {ratios[-1]:.2f}", flush=True)
    print(f"\nratio: {statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f}), {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
