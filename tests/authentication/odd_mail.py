"""
Mail as nobody would write it by hand, and as it comes all the same: odd headers, folds, 8 bit, blanks where none are needed.

Everything is drawn from the generator that is given, so a message that fails is made again by its number.
"""

from collections.abc import Callable, Sequence
from random import Random

BIG = 10 * 1024 * 1024

_WORDS = ("hello", "a", "=?utf-8?Q?caf=C3=A9?=", "größe", "x" * 60, "<b>", "=3D", "..", "--", "\\", '"quoted words"', "日本")
_NAMES = ("Subject", "SUBJECT", "X-Odd", "x-odd", "To", "Cc", "Reply-To", "List-Unsubscribe", "Message-ID", "Date", "References",
          "MIME-Version", "Content-Type", "X-A.B_c~d")  # fmt: skip
_BLANKS = (" ", "  ", "\t", " \t ", "\r\n ", "\r\n\t", " \r\n \t ", "   \r\n\t\t")
_STARTS = (" ", "", "  ", "\t", "\r\n ", " \r\n\t")
_ENDS = ("", "", "", " ", "\t ", "   ")


def header_field(random: Random, name: str) -> str:
    """One field with its CRLF."""
    words = [random.choice(_WORDS) for _ in range(random.randrange(8))]
    value = random.choice(_STARTS)
    for word in words:
        value += word + random.choice(_BLANKS)
    value = value.rstrip() if random.random() < 0.5 else value.rstrip() + random.choice(_ENDS)
    return f"{name}:{value}\r\n" if value.strip() else f"{name}:\r\n"


def header(random: Random, author: str) -> str:
    """A header block without the empty line after it, one From in it."""
    names = [random.choice(_NAMES) for _ in range(random.randrange(9))]
    fields = [header_field(random, name) for name in names]
    author_field = random.choice(
        (f"From: {author}", f"FROM: Somebody <{author}>", f'from:\t"Quoted, Name"\r\n  <{author}>', f"From:{author}")
    )
    fields.insert(random.randrange(len(fields) + 1), author_field + random.choice(_ENDS) + "\r\n")
    return "".join(fields)


def _lines(random: Random) -> bytes:
    """Text with blanks at the ends of its lines, and long ones."""
    lines = []
    for _ in range(random.randrange(30)):
        line = random.choice(("", " ", "\t", ".", "..", "From here", "x" * 990, "a  b \t c", "größe  ", "  indented", "-- "))
        lines.append((line + random.choice(_ENDS)).encode())
    return b"\r\n".join(lines) + b"\r\n"


def _octets(random: Random) -> bytes:
    """Any octets but NUL, CR and LF, in lines that are not too long."""
    allowed = bytes(n for n in range(1, 256) if n not in (10, 13))
    return b"".join(bytes(random.choices(allowed, k=random.randrange(200))) + b"\r\n" for _ in range(random.randrange(20)))


_BODIES: Sequence[Callable[[Random], bytes]] = (
    lambda random: b"",
    lambda random: b"\r\n",
    lambda random: b"\r\n" * random.randrange(2, 40),
    lambda random: b" \r\n\t\r\n \t \r\n",
    lambda random: b"no line end at the end",
    lambda random: b"blanks at the end  \t",
    lambda random: b"text\r\n" + b" \r\n" * random.randrange(5) + b"\r\n" * random.randrange(5),
    _lines,
    _lines,
    _octets,
)


def message(random: Random, author: str) -> bytes:
    """A whole message with CRLF, whose last line may lack it."""
    return header(random, author).encode() + b"\r\n" + random.choice(_BODIES)(random)


def big_message(random: Random, author: str) -> bytes:
    """One of 10 MB."""
    line = bytes(random.choices(b"abc def  gh\t", k=500)) + b"\r\n"
    return header(random, author).encode() + b"\r\n" + line * (BIG // len(line))


def as_sent(content: bytes) -> bytes:
    """As it arrives over SMTP: with a line end at its end (RFC 5321 section 4.1.1.4)."""
    return content if content.endswith(b"\r\n") else content + b"\r\n"
