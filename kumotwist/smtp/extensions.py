"""The service extensions that we offer (RFC 5321 section 4.1.1.1), as the lines of our answer to EHLO."""

PIPELINING = "PIPELINING"  # RFC 2920
ENHANCEDSTATUSCODES = "ENHANCEDSTATUSCODES"  # RFC 2034
EIGHTBITMIME = "8BITMIME"  # RFC 6152
SMTPUTF8 = "SMTPUTF8"  # RFC 6531
SIZE = "SIZE"  # RFC 1870
CHUNKING = "CHUNKING"  # RFC 3030
STARTTLS = "STARTTLS"  # RFC 3207


def offered(max_message_size: int, *, tls_active: bool) -> tuple[str, ...]:
    """
    What EHLO is told, in this order; the first four stand in the model's order.

    BINARYMIME is not offered: message data must be lines.  STARTTLS goes once TLS is active (RFC 3207 section 4.2).
    """
    always = (PIPELINING, ENHANCEDSTATUSCODES, EIGHTBITMIME, SMTPUTF8, f"{SIZE} {max_message_size}", CHUNKING)
    return always if tls_active else (*always, STARTTLS)
