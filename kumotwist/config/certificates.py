"""Whether certificates and keys are what they should be, so that a session does not find out at its STARTTLS."""

import os
import ssl
from typing import TYPE_CHECKING

from kumotwist.config.fields import BadValue, shown_file
from kumotwist.config.keys import KeyData

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


Known = str | KeyData  # a file, or what stands in the configuration; what a policy will answer is not known yet


def octets_of(source: Known) -> bytes:
    """What is in a file, or stands in the configuration.  Raises BadValue."""
    if isinstance(source, KeyData):
        return source.data
    try:
        with open(source, "rb") as stream:
            return stream.read(16 * 1024 * 1024)
    except OSError as fault:
        raise BadValue(f"{shown_file(source)} cannot be read: {os.strerror(fault.errno or 0)}") from None


def _called(source: Known) -> str:
    return "key_data" if isinstance(source, KeyData) else shown_file(source)


def certificates(source: Known) -> "list[Certificate]":
    """The certificates in PEM, at least one; BadValue if there is none."""
    from cryptography.x509 import load_pem_x509_certificates

    octets = octets_of(source)
    try:
        return load_pem_x509_certificates(octets)
    except ValueError:
        raise BadValue(f"{_called(source)} holds no certificate in PEM form") from None


def check_authorities(source: Known) -> None:
    """BadValue if it holds no certificates of authorities to trust."""
    octets = octets_of(source)
    try:
        # ssl rather than x509: bundles of old authorities hold certificates that today's parsers complain about
        if isinstance(source, KeyData):
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=octets.decode("ascii"))
        else:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(source)
    except (OSError, ValueError):
        raise BadValue(f"{_called(source)} holds no certificate in PEM form") from None


def public_key(source: Known) -> bytes:
    """The public half of the private key in PEM, in a form to compare; BadValue if there is none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    octets = octets_of(source)
    try:
        key = load_pem_private_key(octets, password=None)
    except TypeError:
        raise BadValue(f"the key in {_called(source)} is encrypted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadValue(f"{_called(source)} holds no private key in PEM form") from None
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def fits(certificate: "Certificate", key: bytes) -> bool:
    """Whether a certificate is for this public key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        own = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return False
    return own == key
