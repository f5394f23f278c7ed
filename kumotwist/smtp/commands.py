"""
What a client asks for: one frozen class a command, and what a server session makes of the bytes after DATA and BDAT.

A command that stands here is well-formed; whether it may come now is the session's table, whether it is granted is policy.
"""

from enum import Enum

from msgspec import Struct

from kumotwist.mail.address import Mailbox
from kumotwist.mail.reply import Reply


class Ehlo(Struct, frozen=True, gc=False):
    """`EHLO domain`: lower-case A-label or literal."""

    domain: str


class Helo(Struct, frozen=True, gc=False):
    """`HELO domain`."""

    domain: str


class Mail(Struct, frozen=True, gc=False):
    """
    `MAIL FROM:<sender>` with its parameters.

    size: declared octets (RFC 1870), None if not.  eight_bit: BODY=8BITMIME (RFC 6152).  utf8: SMTPUTF8 (RFC 6531).
    """

    sender: Mailbox
    size: int | None = None
    eight_bit: bool = False
    utf8: bool = False


class Rcpt(Struct, frozen=True, gc=False):
    """`RCPT TO:<recipient>`."""

    recipient: Mailbox


class Data(Struct, frozen=True, gc=False):
    """`DATA`."""


class Bdat(Struct, frozen=True, gc=False):
    """`BDAT size [LAST]` (RFC 3030): so many octets follow, of whatever kind."""

    size: int
    last: bool


class Rset(Struct, frozen=True, gc=False):
    """`RSET`."""


class Noop(Struct, frozen=True, gc=False):
    """`NOOP`."""


class Vrfy(Struct, frozen=True, gc=False):
    """`VRFY`: whom it asks about does not matter, since we do not tell."""


class StartTls(Struct, frozen=True, gc=False):
    """`STARTTLS` (RFC 3207)."""


class Quit(Struct, frozen=True, gc=False):
    """`QUIT`."""


class Auth(Struct, frozen=True, gc=False):
    """`AUTH mechanism [initial-response]` (RFC 4954): the mechanism in upper case, the response as it came."""

    mechanism: str
    initial: str | None = None

    def __repr__(self) -> str:
        return f"Auth({self.mechanism!r}, …)"  # what it may hold is a secret


class XClient(Struct, frozen=True, gc=False):
    """`XCLIENT NAME=value …`: names in upper case, values decoded."""

    attributes: tuple[tuple[str, str], ...]


class Unsupported(Struct, frozen=True, gc=False):
    """A well-formed command that we do not do: EXPN, HELP, or one that nobody knows."""

    verb: str


Command = Ehlo | Helo | Mail | Rcpt | Data | Bdat | Rset | Noop | Vrfy | StartTls | Auth | XClient | Quit | Unsupported


class Chunk(Struct, frozen=True, gc=False):
    """A chunk that is not the last has arrived."""

    size: int


class Content(Struct, frozen=True, gc=False):
    """A whole message has arrived, without dot-stuffing; the transaction is over whatever becomes of it."""

    body: bytes


class Response(Struct, frozen=True, gc=False):
    """The line with which a client answers a challenge of AUTH."""

    line: bytes

    def __repr__(self) -> str:
        return "Response(…)"


class Refused(Struct, frozen=True, gc=False):
    """
    What the session itself refuses: bad syntax, wrong order, limits.

    closes: the connection must be closed after the reply.  ends_transaction: sender and recipients are forgotten.
    """

    reply: Reply
    closes: bool = False
    ends_transaction: bool = False


class Need(Enum):
    """Not an event: why there is none."""

    DATA = "more bytes"


NEED_DATA = Need.DATA
