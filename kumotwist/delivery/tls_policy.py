"""
Whether a connection is encrypted: by `enable_tls`, what the peer offers, and what the domain says by MTA-STS and DANE.

Pure; RFC 3207, RFC 7435 (opportunistic), RFC 8461, RFC 7672.
"""

from enum import Enum

from msgspec import Struct

from kumotwist.config.egress import EnableTls, PathSettings
from kumotwist.delivery.sts_policy import StsPolicy, allows
from kumotwist.delivery.tlsa import Tlsa
from kumotwist.mail.disposition import TlsFacts


class Demand(Struct, frozen=True, kw_only=True):
    """
    What a domain's mail needs of a connection.

    mode: as `enable_tls` and the policy together say.  policy: what `domain` publishes.  secure_hosts: those that a secure
    MX of it names, so that their TLSA records count; None: nothing is secure, or nobody wants to know.
    """

    mode: EnableTls
    domain: str = ""
    policy: StsPolicy | None = None
    secure_hosts: frozenset[str] | None = None


class Terms(Struct, frozen=True, kw_only=True):
    """What holds for one connection.  tlsa: what its certificate must match; names: whom an authority may have signed it for."""

    mode: EnableTls
    tlsa: tuple[Tlsa, ...] = ()
    names: tuple[str, ...] = ()


class Agreed(Struct, frozen=True, kw_only=True):
    """
    How a connection is protected.

    verified: the certificate is the host's, by somebody whom we trust.  dane: TLSA records were asked for, and heeded.
    vouched_for: the certificate is one that they mean.
    """

    tls: TlsFacts | None = None
    verified: bool = False
    dane: bool = False
    vouched_for: bool = False


def terms_of(demand: Demand, tlsa: tuple[Tlsa, ...] | None) -> Terms:
    """
    What holds for a host, by its usable TLSA records.

    tlsa: None: there are none that count.  Empty: there are some, none of them usable: then it must be encrypted, with
    whatever certificate (RFC 7672 section 2.2).
    """
    if tlsa is None:
        return Terms(mode=demand.mode)
    if tlsa:
        return Terms(mode=EnableTls.REQUIRED, tlsa=tlsa)
    insists = demand.mode is EnableTls.REQUIRED
    return Terms(mode=EnableTls.REQUIRED if insists else EnableTls.REQUIRED_INSECURE)


def fits(demand: Demand, host: str, agreed: Agreed) -> bool:
    """Whether mail with this demand may go over a connection that was made for other mail."""
    if not allows(demand.policy, host):
        return False
    if demand.secure_hosts is not None:
        if not agreed.dane or host not in demand.secure_hosts:
            return False
        if agreed.vouched_for:
            return True
    if demand.mode is EnableTls.REQUIRED:
        return agreed.verified
    return demand.mode is not EnableTls.REQUIRED_INSECURE or agreed.tls is not None


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
