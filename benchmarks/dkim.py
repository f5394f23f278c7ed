"""
What DKIM costs: a signature of ours beside the bare one, and signed mail relayed durably end to end.

    python benchmarks/dkim.py [--seconds 2] [--repeat 5] [--relay 3000] [--size 100KiB] [--sessions 10]

First, in one process: RSA-2048 signing of 10 KiB mail against the bare `cryptography` signature and SHA-256 of the same
octets, alternating, by the processor's time; the budget is 1.6.  Then load → server → sink as in benchmarks/relay.py, with and
without signatures; `--relay 0` leaves that out.
"""

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import relay
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kumotwist.authentication.canonical import Canonicalization
from kumotwist.authentication.keys import load_key
from kumotwist.authentication.signing import Signer, signatures
from kumotwist.config.dkim import HEADERS

BUDGET = 1.6
HEADER = (
    b"Received: from client.example (client.example [192.0.2.7])\r\n\tby mta.example.com (KumoTwist)\r\n"
    b"\twith ESMTP id 0123456789abcdef;\r\n\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
    b"From: Customer <news@example.com>\r\nTo: somebody@example.org\r\n"
    b"Subject: =?utf-8?Q?Everything_that_is_new?= this week\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    b"Message-ID: <0123456789@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n"
    b"List-Unsubscribe: <https://example.com/u/0123456789>\r\nX-Campaign: 42\r\n\r\n"
)
LINE = b"<p>Words of a newsletter, with a few  blanks and tags, in a line of its own.</p>\r\n"


def body(octets: int, *, trailing: bool = False) -> bytes:
    line = LINE.replace(b"\r\n", b" \r\n") if trailing else LINE.replace(b"  ", b" ")
    return (line * (octets // len(line) + 1))[: octets - 2] + b"\r\n"


def cost(call: Callable[[], object], seconds: float) -> float:
    """Microseconds of processor time for a call."""
    calls, began = 0, time.process_time()
    while (spent := time.process_time() - began) < seconds:
        for _ in range(20):
            call()
        calls += 20
    return spent / calls * 1e6


def signing(seconds: float, repeat: int) -> None:
    private = generate_private_key(65537, 2048)
    key = load_key(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    padding, digest = PKCS1v15(), SHA256()
    headers = tuple(name.lower() for name in HEADERS)
    print("| RSA-2048, 10 KiB | bare µs | signed µs | ratio |\n|---|---|---|---|")
    for form in Canonicalization:
        for trailing in (False, True):
            content = HEADER + body(10 * 1024, trailing=trailing)
            hashed = content[len(HEADER) :]
            signer = Signer(
                domain="example.com", selector="s", headers=headers, header_canonicalization=form, body_canonicalization=form
            )

            def bare(hashed: bytes = hashed) -> bytes:
                return private.sign(hashlib.sha256(hashed).digest(), padding, digest)

            def ours(content: bytes = content, signer: Signer = signer) -> bytes:
                return signatures(content, [(signer, key)], 1_700_000_000)

            pairs = [(cost(bare, seconds / 2), cost(ours, seconds / 2)) for _ in range(repeat)]
            ratios = [of_ours / of_bare for of_bare, of_ours in pairs]
            name = f"{form.word}/{form.word}{', blanks to take out' if trailing else ''}"
            medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
            verdict = "" if statistics.median(ratios) <= BUDGET else f" (over {BUDGET})"
            print(f"| {name} | {medians[0]:.0f} | {medians[1]:.0f} | {relay.spread(ratios)}{verdict} |", flush=True)


def relaying(messages: int, size: str, sessions: int, repeat: int) -> None:
    """Both kinds of server in turn, each with a sink of its own."""
    plain = relay.CONFIG
    rows: dict[str, list[dict[str, float]]] = {"unsigned": [], "signed": []}
    for _ in range(repeat):
        for kind, rates in rows.items():
            with tempfile.TemporaryDirectory(prefix="bench-dkim-") as place:
                directory = Path(place)
                (directory / "kumotwist").mkdir()
                key = generate_private_key(65537, 2048)
                (directory / "s.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
                section = 'dkim: {{base: {{selector: s}}, domain: {{"*": {{filename: "{directory}/../s.key"}}}}}}\n'
                relay.CONFIG = plain + (section if kind == "signed" else "")
                with relay.sink(directory) as (port, stats, sink_pid):
                    peer = relay.Peer("kumotwist", directory / "kumotwist", port)
                    try:
                        relay.cell(peer, stats, sink_pid, 300, "1KiB", sessions)  # warm up
                        found = relay.cell(peer, stats, sink_pid, messages, size, sessions)
                    finally:
                        peer.stop()
                rates.append(found)
                print(
                    f"{kind:9} {size} {sessions} sessions  {found['rate']:6.0f} msg/s  {found['cpu']:6.0f} µs CPU  "
                    f"p50 {found['p50']:.1f} ms  p99 {found['p99']:.1f} ms",
                    flush=True,
                )
    for kind, found_in in rows.items():
        print(f"{kind:9} median {statistics.median(found['rate'] for found in found_in):.0f} msg/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--relay", type=int, default=3000, help="messages relayed in each run")
    parser.add_argument("--size", default="100KiB")
    parser.add_argument("--sessions", type=int, default=10)
    options = parser.parse_args()
    if options.seconds:
        signing(options.seconds, options.repeat)
    if options.relay:
        relaying(options.relay, options.size, options.sessions, max(1, options.repeat // 2))


if __name__ == "__main__":
    main()
