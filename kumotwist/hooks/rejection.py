"""How a policy refuses: `kumo.reject` and `kumo.disconnect`, each a Refusal that ends the handler."""

from enum import Enum
from typing import NoReturn

from kumotwist.mail.reply import Refusal, reply

_LONGEST_LINE = 400  # characters of one line's text; RFC 5321 section 4.5.3.1.5 allows 512 octets with code and line end
_MOST_LINES = 20
_WITHOUT_TEXT = "rejected"


class Disconnect(Enum):
    """What becomes of the session after the reply."""

    FORCE = "ForceDisconnect"  # it is closed
    FOLLOW_WITH_421 = "FollowWith421"  # it is closed, after a 421 unless the reply was one
    IF_421 = "If421"  # it is closed if the reply was a 421, as after `reject`


class Rejection(Refusal):
    """A policy's Refusal.  disconnects: what becomes of the session; None: it goes on, unless the reply is a 421."""

    def __init__(self, code: int, text: str, disconnects: Disconnect | None = None) -> None:
        """Raises ValueError if the code refuses nothing."""
        if isinstance(code, bool) or not isinstance(code, int) or not 400 <= code <= 599:
            raise ValueError(f"{code!r} refuses nothing, expected a code from 400 to 599")
        super().__init__(reply(f"{code} {_tidy(text)}"))
        self.disconnects = disconnects


def reject(code: int, text: str) -> NoReturn:
    """
    Refuse what is asked for: the command, or the whole message.  421 closes the session, any other code leaves it open.

    code: 400 to 599.  text: may begin with an enhanced code (`5.7.1 no`); newlines make more lines.
    """
    raise Rejection(code, text)


def disconnect(code: int, text: str, mode: str | Disconnect = Disconnect.FORCE) -> NoReturn:
    """
    Refuse, and close the session.

    mode: `ForceDisconnect` sends the reply and closes; `FollowWith421` also sends a 421 before it closes, if the code is
    another; `If421` closes only after a 421.
    """
    raise Rejection(code, text, Disconnect(mode))


def _tidy(text: str) -> str:
    """
    A text as it may stand in a reply: what a client or a header put into it ends no line and fills no page.

    The model sends nothing at all for an empty text, which leaves the client waiting; here it is a word.
    """
    lines = str(text).replace("\r\n", "\n").split("\n")[:_MOST_LINES]
    tidy = ["".join(c if c.isprintable() else "?" for c in line[:_LONGEST_LINE]).rstrip() for line in lines]
    while len(tidy) > 1 and not tidy[-1]:
        tidy.pop()
    return "\n".join(tidy) if any(tidy) else _WITHOUT_TEXT
