"""Receivers' ports, each with its own idea of TLS, a Postfix that has several of them, and what became of mail to them."""

import re
import socket
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct

from tests.delivery.certificates import Authority, self_signed
from tests.peers.evidence import Record, said_to
from tests.peers.postfix import POSTFIX_HOST, Postfix

# Outcomes: a delivery, in clear or encrypted; anything else is a pattern for the reply of a TransientFailure.
IN_CLEAR, ENCRYPTED = "in clear", "encrypted"
NO_HOST = "400 KumoMTA internal: failed to connect to any candidate hosts: "

NAME = "mx.peers.example"  # the host that certificates are for


class TlsPort(Struct, frozen=True, kw_only=True):
    """How a port does TLS.  chain: key and certificates in PEM; None: it does not.  old: with TLS 1.0 only."""

    chain: bytes | None = None
    old: bool = False


def real_ports(authority: Authority) -> dict[str, TlsPort]:
    """What real receivers can be made to be.  refused: STARTTLS is offered, and answered with 454."""
    return {
        "plain": TlsPort(),
        "good": TlsPort(chain=authority.sign(NAME)),
        "expired": TlsPort(chain=authority.sign(NAME, days=-7)),
        "self-signed": TlsPort(chain=self_signed(NAME)),
        "wrong-name": TlsPort(chain=authority.sign("elsewhere.peers.example")),
        "old": TlsPort(chain=authority.sign(NAME), old=True),
        "refused": TlsPort(chain=b"nothing of use\n"),
    }


def free_ports(host: str, names: Iterable[str]) -> dict[str, int]:
    """A port for each name, no two the same."""
    with ExitStack() as held:
        sockets = {name: held.enter_context(socket.create_server((host, 0))) for name in names}
        return {name: int(one.getsockname()[1]) for name, one in sockets.items()}


_SERVICE = "{host}:{port} inet n - n - - smtpd\n{options}"
_TLS_1_0 = ("smtpd_tls_protocols=TLSv1", "smtpd_tls_ciphers=low", "tls_low_cipherlist=ALL:@SECLEVEL=0")


class TlsPostfix(Postfix):
    """A Postfix with more ports.  ports: name → how that port does TLS."""

    def __init__(self, place: Path, ports: Mapping[str, TlsPort]) -> None:
        super().__init__(place)
        self.ports = free_ports(POSTFIX_HOST, ports)
        services = (place / "etc" / "master.cf").read_text(encoding="utf-8")
        for name, port in ports.items():
            options = [f"smtpd_tls_security_level={'none' if port.chain is None else 'may'}"]
            if port.chain is not None:
                chain = place / f"{name}.pem"
                chain.write_bytes(port.chain)
                options += [f"smtpd_tls_chain_files={chain}", *(_TLS_1_0 if port.old else ())]
            lines = "".join(f"    -o {option}\n" for option in options)
            services += _SERVICE.format(host=POSTFIX_HOST, port=self.ports[name], options=lines)
        (place / "etc" / "master.cf").write_text(services, encoding="utf-8")
        with (place / "etc" / "main.cf").open("a", encoding="utf-8") as settings:
            settings.write("notify_classes =\n")  # else it writes letters about a port whose TLS does not work

    def mx_of(self, name: str, host: str = NAME) -> str:
        """A port as an entry of `mx_list`.  host: what it is called."""
        return f'{{name: {host}, addr: "{POSTFIX_HOST}:{self.ports[name]}"}}'


def encrypted(one: Record) -> bool:
    """Whether a record tells of TLS."""
    return bool(one.get("tls_cipher"))


def fault_of(one: Record, outcome: str) -> str:
    """What of a record is not as the outcome has it; empty: all is well."""
    with_tls = encrypted(one)
    if outcome in (IN_CLEAR, ENCRYPTED):
        facts = (one["tls_protocol_version"], one["tls_peer_subject_name"]) if with_tls else ()
        good = one["type"] == "Delivery" and with_tls == (outcome == ENCRYPTED) and all(facts)
    else:
        good = one["type"] == "TransientFailure" and re.fullmatch(outcome, said_to(one)) is not None
    if good:
        return ""
    how = "encrypted" if with_tls else "in clear"
    return f"{one['recipient']}: {one['type']} {how} {said_to(one)!r}; expected {outcome!r}"
