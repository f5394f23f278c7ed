"""
An SMTP reply: code, enhanced code, text.  What a peer said, what we say, and what we note about ourselves.

RFC 5321 section 4.2 (replies), RFC 3463 (enhanced codes), RFC 2034 (where they stand in the text).
"""

import re

from msgspec import Struct

# RFC 2034 section 4: the enhanced code leads the text; its class is the first digit of the reply code.
_ENHANCED = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?: |\Z)")

INTERNAL = "KumoMTA internal: "  # begins the texts that no peer said; shaping rules of the model look for it


class EnhancedCode(Struct, frozen=True, gc=False, rename={"class_": "class"}):
    """RFC 3463: class.subject.detail."""

    class_: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.class_}.{self.subject}.{self.detail}"


class Reply(Struct, frozen=True, gc=False, rename={"enhanced": "enhanced_code", "text": "content"}):
    """
    code: three digits.  enhanced: None where there is none.  text: lines joined by newlines, without the enhanced code.
    command: the command that it answers, `.` for the end of data; None for a reply that nobody's command caused.
    """

    code: int
    enhanced: EnhancedCode | None
    text: str
    command: str | None = None

    @property
    def single_line(self) -> str:
        """`CODE [C.S.D ]text` on one line: what classifiers, shaping rules and hooks look at."""
        text = self.text.replace("\r", "").replace("\n", " ")
        return f"{self.code} {self.enhanced} {text}" if self.enhanced else f"{self.code} {text}"

    def encode(self) -> bytes:
        """The reply as it goes over the wire; the enhanced code stands on every line (RFC 2034 section 4)."""
        lead = f"{self.enhanced} " if self.enhanced else ""
        lines = self.text.split("\n")
        head = "".join(f"{self.code}-{lead}{line}\r\n" for line in lines[:-1])
        return f"{head}{self.code} {lead}{lines[-1]}\r\n".encode("utf-8", "replace")


def reply(text: str, command: str | None = None) -> Reply:
    """`reply("550 5.7.1 relaying not permitted")`: a reply as one writes it down; newlines make more lines."""
    code, _, rest = text.partition(" ")
    enhanced, rest = split_enhanced(rest)
    return Reply(int(code), enhanced, rest, command)


def split_enhanced(text: str) -> tuple[EnhancedCode | None, str]:
    """The enhanced code that leads a reply's text, and the text without it."""
    if text[:1] in "245" and (found := _ENHANCED.match(text)):
        return EnhancedCode(int(found[1]), int(found[2]), int(found[3])), text[found.end() :]
    return None, text


class Refusal(Exception):
    """
    What we refuse: the reply is public, the reason is for our own log.

    reply: 421 closes the connection after it is sent; any other leaves the session as it is.
    """

    def __init__(self, answer: Reply, reason: str = "") -> None:
        super().__init__(answer.single_line)
        self.reply = answer
        self.reason = reason or answer.single_line


def refuse(text: str, reason: str = "") -> Refusal:
    """`raise refuse("552 5.3.4 message too big")`."""
    return Refusal(reply(text), reason)
