"""A self-signed certificate made by openssl, as an operator would make one for a trial."""

from pathlib import Path

from msgspec import Struct

from tests.peers.support import PeerTestCase, program


class Certificate(Struct, frozen=True, kw_only=True):
    """Files in PEM; chain: key and certificate in one, as Postfix wants them."""

    key: Path
    certificate: Path
    chain: Path


def self_signed(test: PeerTestCase, *addresses: str) -> Certificate:
    """For these IP addresses and the name mail.peers.example."""
    key, certificate, chain = (test.place / name for name in ("key.pem", "cert.pem", "chain.pem"))
    names = ",".join(["DNS:mail.peers.example", *(f"IP:{address}" for address in addresses)])
    test.run_to_end(
        *(program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-days", "2", "-subj", "/CN=mail.peers.example", "-addext", f"subjectAltName={names}"),
        *("-keyout", str(key), "-out", str(certificate)),
    )
    chain.write_bytes(key.read_bytes() + certificate.read_bytes())
    return Certificate(key=key, certificate=certificate, chain=chain)
