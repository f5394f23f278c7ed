"""Whether a connection is encrypted, by `enable_tls` and what the peer offers.  Pure; RFC 3207, RFC 7435 (opportunistic)."""

from enum import Enum

from kumotwist.config.egress import EnableTls, PathSettings


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
OPPORTUNISTIC = frozenset({EnableTls.OPPORTUNISTIC, EnableTls.OPPORTUNISTIC_INSECURE})

# For which an operator who wants to go on in clear, but set no `remember_broken_tls`, is spared further handshakes.
REMEMBERED_FOR_RECONNECTING = 900.0  # seconds


def tls_choice(mode: EnableTls, *, offered: bool, broken: bool = False) -> TlsChoice:
    """
    offered: the peer's EHLO named STARTTLS.

    broken: handshakes there are known to fail; then the opportunistic modes act as if nothing had been offered.
    """
    if broken and mode in OPPORTUNISTIC:
        return TlsChoice.PLAIN
    return (_WITH_OFFER if offered else _WITHOUT_OFFER)[mode]


def clear_after_failure(mode: EnableTls, settings: PathSettings, *, handshake: bool) -> bool:
    """
    Whether a host with which STARTTLS led nowhere is spoken to in clear, on a new connection.

    handshake: that is what failed; else it was the first EHLO after it.  By default only where the operator asked for
    encryption without caring for certificates: elsewhere an attacker who breaks handshakes would get the mail in clear.
    """
    if mode not in OPPORTUNISTIC:
        return False
    if settings.opportunistic_tls_reconnect_on_failed_handshake:
        return True
    return handshake and mode is EnableTls.OPPORTUNISTIC_INSECURE


def broken_tls_remembered(mode: EnableTls, settings: PathSettings) -> float:
    """Seconds for which STARTTLS that led nowhere is remembered; 0.0: not at all."""
    if mode not in OPPORTUNISTIC:
        return 0.0
    if settings.remember_broken_tls is not None:
        return settings.remember_broken_tls
    return REMEMBERED_FOR_RECONNECTING if settings.opportunistic_tls_reconnect_on_failed_handshake else 0.0
