"""
Message data on the wire: the transparency of RFC 5321 section 4.5.2 both ways, its end, and the shape of its lines.

All of it works on whole blocks with bytes methods, since this is where the octets are.
"""

from io import IncrementalNewlineDecoder

END = b"\r\n.\r\n"  # the only end of data (RFC 5321 section 4.1.1.4): neither bare CR nor bare LF takes part in it


def stuff(content: bytes) -> bytes:
    """
    What is sent after `354`: content with each dot at the beginning of a line doubled, ended by CRLF.CRLF.

    Nothing else changes.  Content that does not end in CRLF gets one, since the end of data needs it.
    A dot after a bare LF is doubled too: a receiver that takes that LF as the end of a line would otherwise lose
    the dot, or take `LF.CRLF` as the end of the message (SMTP smuggling); for one that does not, RFC 5321 has no answer.
    """
    if b"\n." in content:
        content = content.replace(b"\n.", b"\n..")
    if content.startswith(b"."):
        content = b"." + content
    # An empty message could be the dot alone, but there are receivers that wait for a CRLF of the data's own before it.
    return content + (b".\r\n" if content.endswith(b"\r\n") else END)


def unstuff(body: bytes) -> bytes:
    """
    What was meant by the lines received after `354`, without the line that holds only the dot.

    Takes one dot from each line that begins with one, the first line included.  Lines end in CRLF only, so a dot
    after a bare LF is content.
    """
    if b"\r\n." in body:
        body = body.replace(b"\r\n.", b"\r\n")
    return body[1:] if body.startswith(b".") else body


def has_bare_cr_or_lf(content: bytes) -> bool:
    """
    Whether a CR stands without its LF, or an LF without its CR (RFC 5321 section 2.3.8 forbids both).

    Python's own newline decoder notes which kinds of line end it meets, in one pass; counting CR, LF and CRLF takes four
    times as long.
    """
    decoder = IncrementalNewlineDecoder(None, translate=False)
    decoder.decode(content.decode("latin-1"), final=True)
    return decoder.newlines not in (None, "\r\n")


def with_crlf(content: bytes) -> bytes:
    """Each bare CR and each bare LF made CRLF."""
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def has_long_line(content: bytes, limit: int) -> bool:
    """
    Whether a line has more than `limit` octets before its CRLF; where bare LFs are allowed, they end lines here too.

    Hops from the last line end within reach to the next, so most lines are not looked at one by one.
    """
    start, size = 0, len(content)
    while size - start > limit:
        end = content.rfind(b"\n", start, start + limit + 2)
        if end < 0:
            return True
        start = end + 1
    return False


class UntilDot:
    """
    Collects the octets after `354` up to CRLF.CRLF, wherever the chunks are cut.

    Looks at each octet once.  Keeps at most a third more than `limit`: what comes beyond is read and forgotten.
    """

    __slots__ = ("_ceiling", "_kept", "_limit", "_overflowed", "_stuffed", "_whole")

    def __init__(self, limit: int) -> None:
        """limit: octets that the message may have, without stuffing."""
        self._limit = limit
        # Stuffing adds an octet to a line that has at least three ("x" CRLF): so much beyond the limit proves it exceeded.
        self._ceiling = limit + limit // 3 + len(END)
        self._whole: bytes | None = None
        # The CRLF that ended the DATA command counts as the first of the end: a lone dot is an empty message.
        self._kept = bytearray(b"\r\n")
        self._overflowed = False
        self._stuffed = False

    def feed(self, data: bytes, start: int) -> int:
        """Take data from `start` on; the index after the end of the message, or -1 while it has not ended."""
        if len(self._kept) > 2:
            return self._feed_slowly(data, start)
        # Nearly always a message comes whole, in one chunk.
        if data.startswith(b".\r\n", start):
            self._whole = b""
            return start + 3
        at = self._find_end(data, start)
        if at < 0:
            return self._feed_slowly(data, start)
        self._whole = data[start : at + 2]
        return at + len(END)

    def _feed_slowly(self, data: bytes, start: int) -> int:
        kept = self._kept
        before = len(kept)
        kept += data if start == 0 else memoryview(data)[start:]
        at = self._find_end(kept, max(0, before - len(END) + 1))
        if at >= 0:
            if not self._overflowed:
                self._whole = bytes(memoryview(kept)[2 : at + 2])
            return start + at + len(END) - before
        if self._overflowed or len(kept) > self._ceiling + 2:
            self._overflowed = True
            del kept[: 1 - len(END)]
        return -1

    def _find_end(self, octets: bytes | bytearray, start: int) -> int:
        """Where CRLF.CRLF is, or -1; notes on the way whether other lines begin with a dot."""
        at = octets.find(b"\r\n.", start)
        if at < 0 or octets.startswith(END, at):
            return at
        self._stuffed = True
        return octets.find(END, at + 1)

    @property
    def kept(self) -> int:
        """Octets in memory so far."""
        return len(self._kept)

    def give_up(self) -> None:
        """Forget what came, and what comes until the end: `content` will be None."""
        self._overflowed = True
        del self._kept[: 1 - len(END)]

    def content(self) -> bytes | None:
        """The message without stuffing, once it has ended; None if it is larger than the limit."""
        content = self._whole
        if content is None:
            return None
        if self._stuffed or content.startswith(b"."):
            content = unstuff(content)
        return content if len(content) <= self._limit else None
