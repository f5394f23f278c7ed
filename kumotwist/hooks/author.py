"""Whose name a message bears: the domain of its From, which decides how it is signed and whom DMARC asks."""

import re

from kumotwist.hooks.address_header import parse_address_header
from kumotwist.mail.address import parse_domain
from kumotwist.mail.headers import header_end

_FROM = re.compile(rb"^from[ \t]*:((?:[^\n]*\n[ \t])*[^\n]*)", re.IGNORECASE | re.MULTILINE)
# What nearly all mail has: one address, a display name without specials or in quotes before it or not.
_NAME = rb'(?:[ \t\r\n]*"[^"\\]*"[ \t\r\n]*|[^"\\<>(),:;@\[\]]*)'
_ADDRESS = rb'[^"\\<>(),:;@\[\] \t\r\n]+@([A-Za-z0-9.-]+)'
_PLAIN = re.compile(rb"(?:" + _NAME + rb"<" + _ADDRESS + rb">|[ \t\r\n]*" + _ADDRESS + rb")[ \t\r]*\Z")


class NoAuthor(ValueError):
    """There is no From."""


def author_domain(content: bytes) -> str:
    """
    The domain of the only address in the only From, in lower case and as A-labels.

    Raises NoAuthor where there is no From; ValueError where there are several, or it holds anything but one address.
    """
    found = _FROM.findall(content, 0, header_end(content))
    if not found:
        raise NoAuthor("there is no From")
    if len(found) > 1:
        raise ValueError(f"there are {len(found)} From fields")
    plain = _PLAIN.match(found[0])
    if plain is not None:
        return parse_domain((plain[1] or plain[2]).decode("ascii"))
    return parse_domain(parse_address_header("From", found[0]).domain)
