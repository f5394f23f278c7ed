"""
One request for many recipients, and how long SMTP clients wait meanwhile.

    python benchmarks/injection.py [RECIPIENTS]

A server runs in a process of its own; one client injects, another says NOOP over SMTP every 20 ms and notes how long the
answer takes: that is the reactor's lag, with the round trip.  Prints recipients a second and the waits; asserts nothing.
"""

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

CONFIG = """
hostname: mta.example
spool: {path: spool, min_free_space: 0, min_free_inodes: 0}
logs: {log_dir: log, min_free_space: 0, min_free_inodes: 0}
dns: {nameservers: ["127.0.0.1:9"], timeout: 1 s}
esmtp_listeners: [{listen: "127.0.0.1:0", max_messages_per_connection: 1000000}]
http_listeners: [{listen: "127.0.0.1:0", request_body_limit: 200MiB}]
queues: {scheduling_header: X-Schedule}
"""
TWISTD = (sys.executable, "-c", "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()")


def heard(log: Path, phrase: str) -> str:
    while True:
        _, found, after = log.read_text("utf-8").partition(phrase)
        if found and "\n" in after:
            return after.partition("\n")[0].strip()
        time.sleep(0.05)


def ask_noop(port: int, waits: list[float], done: threading.Event) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.recv(1000)
        client.sendall(b"EHLO bench.example\r\n")
        time.sleep(0.2)
        client.recv(10000)
        while not done.wait(0.02):
            began = time.perf_counter()
            client.sendall(b"NOOP\r\n")
            client.recv(1000)
            waits.append(time.perf_counter() - began)


def measure(count: int, http: str, smtp: int) -> None:
    recipients = [
        {"email": f"user{n}@example{n % 50}.example", "name": f"User {n}", "substitutions": {"code": n}} for n in range(count)
    ]
    content = {
        "text_body": "Dear {{ name }},\nyour code is {{ code }}.\n" + "Text that everybody gets.\n" * 20,
        "html_body": "<p>Dear {{ name }},</p><p>your code is {{ code }}.</p>" + "<p>Text that everybody gets.</p>\n" * 20,
        "subject": "{{ name }}, your code",
        "headers": {"X-Schedule": json.dumps({"first_attempt": "2090-01-01T00:00:00Z"})},  # so that injection alone is measured
        "from": {"email": "sales@sender.example", "name": "Sälés"},
    }
    body = json.dumps({"envelope_sender": "a@sender.example", "recipients": recipients, "content": content}).encode()
    waits: list[float] = []
    done = threading.Event()
    asking = threading.Thread(target=ask_noop, args=(smtp, waits, done))
    asking.start()
    time.sleep(1)
    idle = sorted(waits)
    waits.clear()
    began = time.perf_counter()
    request = urllib.request.Request(f"http://{http}/api/inject/v1", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        told = json.load(answer)
    took = time.perf_counter() - began
    done.set()
    asking.join()
    waits.sort()
    print(f"{told['success_count']} recipients, {len(body)} octets, in {took:.1f} s: {count / took:.0f} a second")
    print(f"NOOP before: median {1e3 * idle[len(idle) // 2]:.1f} ms")
    shares = ", ".join(f"{share}% {1e3 * waits[int(len(waits) * share / 100)]:.1f} ms" for share in (50, 90, 99))
    print(f"NOOP meanwhile: {shares}, longest {1e3 * waits[-1]:.1f} ms ({len(waits)} asked)")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "bench.yaml").write_text(CONFIG, "utf-8")
        log = place / "out.log"
        with log.open("wb") as out:
            server = subprocess.Popen(
                [*TWISTD, "-n", "--pidfile=", "kumotwist", "--config", str(place / "bench.yaml")], stdout=out, stderr=out
            )
        try:
            smtp = int(heard(log, "ESMTP listens on").rpartition(":")[2])
            measure(count, heard(log, "HTTP listens on"), smtp)
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
