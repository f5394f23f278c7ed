"""What can be said of OpenSSL on a path: suites of ciphers, by the names of two libraries, and options."""

from collections.abc import Sequence
from enum import Enum

from OpenSSL import SSL


class CipherSuite(Enum):
    """
    A suite of `rustls_cipher_suites`, by rustls' own name; these nine are all that it has.

    We have OpenSSL only, which knows them by other names.
    """

    AES_256_GCM = "TLS13_AES_256_GCM_SHA384"
    AES_128_GCM = "TLS13_AES_128_GCM_SHA256"
    CHACHA20 = "TLS13_CHACHA20_POLY1305_SHA256"
    ECDSA_AES_256_GCM = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    ECDSA_AES_128_GCM = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    ECDSA_CHACHA20 = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
    RSA_AES_256_GCM = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
    RSA_AES_128_GCM = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    RSA_CHACHA20 = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"


_UP_TO_TLS_1_2 = {
    CipherSuite.ECDSA_AES_256_GCM: "ECDHE-ECDSA-AES256-GCM-SHA384",
    CipherSuite.ECDSA_AES_128_GCM: "ECDHE-ECDSA-AES128-GCM-SHA256",
    CipherSuite.ECDSA_CHACHA20: "ECDHE-ECDSA-CHACHA20-POLY1305",
    CipherSuite.RSA_AES_256_GCM: "ECDHE-RSA-AES256-GCM-SHA384",
    CipherSuite.RSA_AES_128_GCM: "ECDHE-RSA-AES128-GCM-SHA256",
    CipherSuite.RSA_CHACHA20: "ECDHE-RSA-CHACHA20-POLY1305",
}


def in_openssl(suites: Sequence[CipherSuite]) -> tuple[str, str]:
    """Lists of the same as OpenSSL has them: for up to TLS 1.2, and for TLS 1.3; either may be empty."""
    older = [_UP_TO_TLS_1_2[suite] for suite in suites if suite in _UP_TO_TLS_1_2]
    newer = [suite.value.replace("TLS13_", "TLS_") for suite in suites if suite not in _UP_TO_TLS_1_2]
    return ":".join(older), ":".join(newer)


def checked_suites(text: str) -> str:
    """Suites of TLS 1.3 as OpenSSL takes them.  Raises ValueError."""
    try:
        SSL.Context(SSL.TLS_METHOD).set_tls13_ciphersuites(text.encode())
    except SSL.Error:
        raise ValueError(f"OpenSSL knows no such suites: {text!r}") from None
    return text


_OPTIONS = {name.removeprefix("OP_").upper(): int(getattr(SSL, name)) for name in dir(SSL) if name.startswith("OP_")}


def openssl_options(text: str) -> int:
    """`NO_TICKET|NO_TLSV1_3` as OpenSSL counts them; its own prefixes may stand before a name.  Raises ValueError."""
    found = 0
    for word in text.split("|"):
        name = word.strip().upper().removeprefix("SSL_").removeprefix("OP_")
        if name not in _OPTIONS:
            raise ValueError(f"no option of OpenSSL is called {word.strip()!r}")
        found |= _OPTIONS[name]
    return found
