"""Whether certificate and key files are what they should be, so that a session does not find out at its STARTTLS."""

import os
import ssl
from typing import TYPE_CHECKING

from kumotwist.config.fields import BadValue, shown_file

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


def _octets(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(16 * 1024 * 1024)
    except OSError as fault:
        raise BadValue(f"{shown_file(file)} cannot be read: {os.strerror(fault.errno or 0)}") from None


def certificates(file: str) -> "list[Certificate]":
    """The certificates in a PEM file, at least one; BadValue if there is none."""
    from cryptography.x509 import load_pem_x509_certificates

    octets = _octets(file)
    try:
        return load_pem_x509_certificates(octets)
    except ValueError:
        raise BadValue(f"{shown_file(file)} holds no certificate in PEM form") from None


def check_authorities(file: str) -> None:
    """BadValue if a file holds no certificates of authorities to trust."""
    _octets(file)
    try:
        # ssl rather than x509: bundles of old authorities hold certificates that today's parsers complain about
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except (OSError, ValueError):
        raise BadValue(f"{shown_file(file)} holds no certificate in PEM form") from None


def public_key(file: str) -> bytes:
    """The public half of the private key in a PEM file, in a form to compare; BadValue if there is none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    octets = _octets(file)
    try:
        key = load_pem_private_key(octets, password=None)
    except TypeError:
        raise BadValue(f"the key in {shown_file(file)} is encrypted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadValue(f"{shown_file(file)} holds no private key in PEM form") from None
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
