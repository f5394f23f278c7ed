"""
The mail that a load consists of: each message has an id and a recipient of its own.

Pure: number in, bytes out.  The id stands in X-Traffic-Id and in the recipient's local part, so that a message can be
followed through logs, sinks and mailboxes.
"""

from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate

from msgspec import Struct

from kumotwist.mail.address import BadAddress, parse_domain

LINE = b"The quick brown fox jumps over the lazy dog and on to the next receiving mail.\r\n"


class WeightedDomain(Struct, frozen=True):
    """A recipient domain and its share of the messages."""

    name: str
    weight: int = 1


def parse_domain_weight(text: str) -> WeightedDomain:
    """`example.com:3`, `example.com`, `[127.0.0.1]:2`.  Raises ValueError."""
    name, colon, digits = text.rpartition(":")
    if not colon or digits.endswith("]"):
        name, digits = text, "1"
    if not digits.isascii() or not digits.isdigit():
        raise ValueError(f"expected NAME:WEIGHT with a whole number, got {text!r}")
    try:
        return WeightedDomain(parse_domain(name), int(digits))
    except BadAddress as fault:
        raise ValueError(str(fault)) from None


def parse_header(text: str) -> str:
    """`Name: value`, on one line.  Raises ValueError."""
    name, colon, value = text.partition(":")
    printable = all("!" <= character <= "~" for character in name)
    if not colon or not name or not printable or "\r" in text or "\n" in text:
        raise ValueError(f"expected 'Name: value' on one line, got {text!r}")
    return f"{name}: {value.strip()}"


class Letter:
    """
    One message on its way.

    content: as it goes over the wire, final dot included.  attempts: transmissions begun.  began: when the last one
    did, in epoch seconds.
    """

    __slots__ = ("attempts", "began", "content", "id", "recipient")

    def __init__(self, id: bytes, recipient: bytes, content: bytes) -> None:
        self.id = id
        self.recipient = recipient
        self.content = content
        self.attempts = 0
        self.began = 0.0


class Mailing:
    """Makes letters.  run: what tells this run's ids from another's.  draw: uniform in [0, 1), picks the domains."""

    def __init__(
        self,
        *,
        run: str,
        sender: str,
        domains: Sequence[WeightedDomain],
        body_size: int,
        headers: Sequence[str] = (),
        date: str,
        draw: Callable[[], float],
    ) -> None:
        self.sender = sender.encode()
        self._run = run.encode()
        self._domains = [domain.name.encode() for domain in domains]
        self._bounds = list(accumulate(domain.weight for domain in domains))
        self._draw = draw
        author = (sender or "postmaster@localhost").replace("%", "%%")  # the head is filled in with `%`
        fields = [
            f"From: <{author}>",
            "To: <%(to)s>",
            "Subject: Test message %(id)s",
            f"Date: {date}",
            f"Message-ID: <%(id)s@{author.rpartition('@')[2]}>",
            "X-Traffic-Id: %(id)s",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=us-ascii",
        ]
        self._head = "".join(f"{field}\r\n" for field in fields).encode()
        self._tail = "".join(f"{header}\r\n" for header in headers).encode() + b"\r\n" + body(body_size) + b".\r\n"

    def letter(self, number: int) -> Letter:
        """The message of this number; its content ends with the final dot."""
        run_id = b"%s-%d" % (self._run, number)
        domains = self._domains
        domain = domains[0] if len(domains) == 1 else domains[bisect(self._bounds, self._draw() * self._bounds[-1])]
        recipient = b"%s@%s" % (run_id, domain)
        return Letter(run_id, recipient, self._head % {b"to": recipient, b"id": run_id} + self._tail)


def body(size: int) -> bytes:
    """So many octets of text in lines; none of them begins with a dot."""
    if size < 2:
        return b""
    return (LINE * (size // len(LINE) + 1))[: size - 2].rstrip(b"\r\n").ljust(size - 2, b".") + b"\r\n"
