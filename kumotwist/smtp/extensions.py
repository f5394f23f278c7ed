"""The service extensions that we offer (RFC 5321 section 4.1.1.1), as the lines of our answer to EHLO."""

PIPELINING = "PIPELINING"  # RFC 2920
ENHANCEDSTATUSCODES = "ENHANCEDSTATUSCODES"  # RFC 2034
EIGHTBITMIME = "8BITMIME"  # RFC 6152
SMTPUTF8 = "SMTPUTF8"  # RFC 6531
SIZE = "SIZE"  # RFC 1870
CHUNKING = "CHUNKING"  # RFC 3030
STARTTLS = "STARTTLS"  # RFC 3207

AUTH = "AUTH PLAIN LOGIN"  # RFC 4954
XCLIENT = "XCLIENT ADDR PORT DESTADDR DESTPORT"


def offered(max_message_size: int, *, tls_active: bool, auth: bool = False, xclient: bool = False) -> tuple[str, ...]:
    """
    What EHLO is told, in this order; the first four stand in the model's order.

    BINARYMIME is not offered: message data must be lines.  STARTTLS goes once TLS is active (RFC 3207 section 4.2), and
    only then there is AUTH.  auth: whether anybody could log in.  xclient: whether this client may say for whom it speaks.
    """
    lines = [PIPELINING, ENHANCEDSTATUSCODES, EIGHTBITMIME, SMTPUTF8, f"{SIZE} {max_message_size}", CHUNKING]
    if not tls_active:
        lines.append(STARTTLS)
    elif auth:
        lines.append(AUTH)
    if xclient:
        lines.append(XCLIENT)
    return tuple(lines)
