"""
TLSA records, and whether a certificate is one that they mean.  Pure; RFC 6698, RFC 7671, RFC 7672.

Only the usages that need no public authority count for mail: 3, this certificate (or key) and nothing else matters; and 2,
signed by this authority, which then must have signed for this host and for now.
"""

from collections.abc import Sequence
from hashlib import sha256, sha512

import service_identity
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate, load_der_x509_certificate
from msgspec import Struct
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags
from service_identity.cryptography import verify_certificate_hostname

TRUST_ANCHOR, END_ENTITY = 2, 3  # usages
WHOLE, KEY = 0, 1  # selectors
EXACT, SHA256, SHA512 = 0, 1, 2  # matching types
_DIGESTS = {SHA256: (sha256, 32), SHA512: (sha512, 64)}


class Tlsa(Struct, frozen=True):
    """One record."""

    usage: int
    selector: int
    matching: int
    association: bytes


def usable(record: Tlsa) -> bool:
    """Whether a record means something to us (RFC 7672 section 3.1)."""
    if record.usage not in (TRUST_ANCHOR, END_ENTITY) or record.selector not in (WHOLE, KEY):
        return False
    if record.matching == EXACT:
        return bool(record.association)
    return record.matching in _DIGESTS and len(record.association) == _DIGESTS[record.matching][1]


def means(record: Tlsa, certificate: Certificate) -> bool:
    """Whether a record names this certificate, or its key."""
    if record.selector == WHOLE:
        octets = certificate.public_bytes(Encoding.DER)
    else:
        octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if record.matching == EXACT:
        return octets == record.association
    return _DIGESTS[record.matching][0](octets).digest() == record.association


def vouched_for(records: Sequence[Tlsa], chain: Sequence[Certificate], names: Sequence[str]) -> bool:
    """
    Whether one of the usable records vouches for the first certificate of a chain.

    names: those that an authority's signature may be for: the host's, and the domain's that led to it.
    """
    if not chain:
        return False
    if any(record.usage == END_ENTITY and means(record, chain[0]) for record in records):
        return True  # neither names nor dates matter: the record says all that there is to say (RFC 7671 section 5.1)
    anchors = [record for record in records if record.usage == TRUST_ANCHOR]
    authorities = [one for one in (*chain, *_whole(anchors)) if any(means(record, one) for record in anchors)]
    return bool(authorities) and _is_for(chain[0], names) and _signed(chain, authorities)


def _whole(anchors: Sequence[Tlsa]) -> list[Certificate]:
    """Authorities whose certificates stand in the records themselves."""
    found = []
    for record in anchors:
        if (record.selector, record.matching) == (WHOLE, EXACT):
            try:
                found.append(load_der_x509_certificate(record.association))
            except ValueError:
                continue
    return found


def _is_for(certificate: Certificate, names: Sequence[str]) -> bool:
    for name in names:
        try:
            verify_certificate_hostname(certificate, name)
        except (service_identity.VerificationError, service_identity.CertificateError, ValueError):
            continue
        return True
    return False


def _signed(chain: Sequence[Certificate], authorities: Sequence[Certificate]) -> bool:
    """Whether the signatures lead from the first certificate to an authority, all of them valid now."""
    store = X509Store()
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)  # the authority need not be a root
    for authority in authorities:
        store.add_cert(X509.from_cryptography(authority))
    others = [X509.from_cryptography(one) for one in chain[1:]]
    try:
        X509StoreContext(store, X509.from_cryptography(chain[0]), others).verify_certificate()
    except X509StoreContextError:
        return False
    return True
