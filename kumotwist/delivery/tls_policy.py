"""Whether a connection is encrypted, by `enable_tls` and what the peer offers.  Pure; RFC 3207, RFC 7435 (opportunistic)."""

from enum import Enum

from kumotwist.config.egress import EnableTls


class TlsChoice(Enum):
    """What to do after the first EHLO."""

    PLAIN = "plain"
    VERIFIED = "verified"  # STARTTLS, and the certificate must be the host's
    UNVERIFIED = "unverified"  # STARTTLS, with whatever certificate
    REFUSE = "refuse"  # this host will not do


_WITHOUT_OFFER = {
    EnableTls.DISABLED: TlsChoice.PLAIN,
    EnableTls.OPPORTUNISTIC: TlsChoice.PLAIN,
    EnableTls.OPPORTUNISTIC_INSECURE: TlsChoice.PLAIN,
    EnableTls.REQUIRED: TlsChoice.REFUSE,
    EnableTls.REQUIRED_INSECURE: TlsChoice.REFUSE,
}
_WITH_OFFER = {
    EnableTls.DISABLED: TlsChoice.PLAIN,
    EnableTls.OPPORTUNISTIC: TlsChoice.VERIFIED,
    EnableTls.OPPORTUNISTIC_INSECURE: TlsChoice.UNVERIFIED,
    EnableTls.REQUIRED: TlsChoice.VERIFIED,
    EnableTls.REQUIRED_INSECURE: TlsChoice.UNVERIFIED,
}


def tls_choice(mode: EnableTls, *, offered: bool) -> TlsChoice:
    """offered: the peer's EHLO named STARTTLS."""
    return (_WITH_OFFER if offered else _WITHOUT_OFFER)[mode]


def clear_after_failure(mode: EnableTls) -> bool:
    """
    Whether a host whose handshake failed is spoken to in clear.

    Only where the operator asked for encryption without caring for certificates: elsewhere an attacker who breaks
    handshakes would get the mail in clear.
    """
    return mode is EnableTls.OPPORTUNISTIC_INSECURE
