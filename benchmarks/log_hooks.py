"""
What a log hook costs: end-to-end relay without one and with one of each kind, in turns, in one run.

    python benchmarks/log_hooks.py [--messages N] [--size 1KiB] [--sessions 10] [--repeat 3] [--kinds none,webhook,file,amqp]
                                   [--amqp amqp://guest@127.0.0.1/]

Each kind gets every record (two a message).  Prints for each repetition the messages per second from the first connection to
the last delivery, the server's CPU a message, how many records the target had by then, and how long after the last delivery it
had all; then the ratio of rate and CPU to those without a hook, median of the repetitions.  The web server that takes the
records runs on the same machine, in a process of its own.  `amqp` needs a broker, which is named by --amqp.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import relay

RECORDS = 2  # a message: Reception and Delivery
PATIENCE = 60.0  # seconds for the target to have everything

# Counts the lines of each POST, and says how many there were so far to a GET.
COLLECTOR = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
count = 0
class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        global count
        count += self.rfile.read(int(self.headers["Content-Length"])).rstrip().count(b"\\n") + 1
        self.answer(b"")
    def do_GET(self):
        self.answer(b"%d" % count)
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Collector).serve_forever()
"""

HOOKS = {
    "none": "",
    "webhook": 'log_hooks: [{{name: bench, kind: webhook, url: "http://127.0.0.1:{collector}/", format: json_lines}}]\n',
    "file": "log_hooks: [{{name: bench, kind: file, path: {directory}/records}}]\n",
    "amqp": 'log_hooks: [{{name: bench, kind: amqp, url: "{amqp}", password: {{key_data: guest}}, routing_key: bench}}]\n',
}


class Hooked(relay.Peer):
    """A server with a hook of that kind."""

    def __init__(self, kind: str, directory: Path, sink_port: int, collector: int, amqp: str) -> None:
        self._hook = HOOKS[kind].format(directory=directory, collector=collector, amqp=amqp)
        super().__init__("kumotwist", directory, sink_port)
        time.sleep(1)  # a new hook begins with what is written from then on

    def _start_kumotwist(self, sink_port: int) -> None:
        config = self.directory / "kumotwist.yaml"
        text = relay.CONFIG.format(directory=self.directory, port=self.port, sink=sink_port)
        config.write_text(text + self._hook)
        self._spawn(sys.executable, "-m", "twisted", "--reactor=epoll", "kumotwist", "--config", str(config))


def taken(kind: str, directory: Path, collector: int) -> int | None:
    """How many records the target has; None where nobody counts."""
    if kind == "webhook":
        from urllib.request import urlopen

        with urlopen(f"http://127.0.0.1:{collector}/", timeout=10) as answer:
            return int(answer.read())
    if kind == "file":
        records = directory / "records"
        return records.read_bytes().count(b"\n") if records.exists() else 0
    return None


def measured(kind: str, options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        directory = Path(place) / kind
        directory.mkdir()
        collector = relay.free_port()
        web = subprocess.Popen([sys.executable, "-c", COLLECTOR, str(collector)])
        try:
            relay.wait_for(collector)
            with relay.sink(Path(place)) as (port, stats, sink_pid):
                peer = Hooked(kind, directory, port, collector, options.amqp)
                try:
                    warm = 500
                    relay.cell(peer, stats, sink_pid, warm, "1KiB", 10)
                    found = relay.cell(peer, stats, sink_pid, options.messages, options.size, options.sessions)
                    return found | lag(kind, directory, collector, (warm + options.messages) * RECORDS)
                finally:
                    peer.stop()
        finally:
            web.terminate()
            web.wait()


def lag(kind: str, directory: Path, collector: int, records: int) -> dict[str, float]:
    """How many records were there when the last message was delivered, and after how many seconds all of them were."""
    began = time.monotonic()
    first = now = taken(kind, directory, collector)
    while now is not None and now < records and time.monotonic() - began < PATIENCE:
        time.sleep(0.1)
        now = taken(kind, directory, collector)
    if now is None or first is None:
        return {}
    return {"by then": first / records, "all after": time.monotonic() - began, "missing": records - now}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--size", default="1KiB")
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=["none", "webhook", "file"])
    parser.add_argument("--amqp", default="amqp://guest@127.0.0.1/")
    options = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {kind: [] for kind in options.kinds}
    for repetition in range(options.repeat):
        for kind in options.kinds[repetition % len(options.kinds) :] + options.kinds[: repetition % len(options.kinds)]:
            found = measured(kind, options)
            rows[kind].append(found)
            more = "  ".join(f"{key} {found[key]:.2f}" for key in ("by then", "all after", "missing") if key in found)
            print(f"{kind:8} {found['rate']:7.0f} messages/s {found['cpu']:6.0f} µs CPU  {more}", flush=True)
    if "none" not in rows:
        return
    for kind in options.kinds:
        for key in ("rate", "cpu"):
            ratios = [one[key] / base[key] for one, base in zip(rows[kind], rows["none"], strict=True)]
            print(
                f"{kind:8} {key:5} {statistics.median(ratios):.2f} of that without a hook ({min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
