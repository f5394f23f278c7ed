"""docs/delivery-tls.md is true: its table of modes is the one that real receivers are tested with."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import EnableTls
from tests.peers.test_tls_matrix import MODES, REAL
from tests.peers.tls_ports import ENCRYPTED, IN_CLEAR

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "delivery-tls.md"
ROWS = {
    "offers no STARTTLS": "plain",
    "has a good certificate": "good",
    "has one that has expired": "expired",
    "has one that nobody we trust has signed": "self-signed",
    "has one for another name": "wrong-name",
    "knows only TLS 1.0, or breaks the handshake": "old",
    "offers STARTTLS and refuses it": "refused",
}


class TlsPageTests(SynchronousTestCase):
    def test_the_table_of_modes_is_what_receivers_show(self) -> None:
        section = PAGE.read_text(encoding="utf-8").partition("## The modes\n")[2].partition("\n## ")[0]
        lines = section.splitlines()
        heading, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        self.assertEqual([cell.strip("`") for cell in heading[1:]], list(MODES))
        self.assertEqual(set(MODES), {mode.value for mode in EnableTls})
        found = {ROWS[host]: cells for host, *cells in rows}
        expected = {
            name: [outcome if outcome in (IN_CLEAR, ENCRYPTED) else "next host" for outcome in outcomes]
            for name, outcomes in REAL.items()
        }
        self.assertEqual(found, expected)
