"""OpenDKIM as a milter of Postfix: it verifies what Postfix receives, and tells in Authentication-Results."""

import re
from collections.abc import Mapping
from pathlib import Path

from tests.peers.postfix import POSTFIX_HOST
from tests.peers.support import Running, free_port, program, wait_until

WHO = "opendkim.example"

CONFIG = """\
Mode v
Syslog no
AuthservID {who}
AlwaysAddARHeader yes
TestPublicKeys {keys}
Socket inet:{port}@{host}
On-Default accept
"""

_TOLD = re.compile(rb"^Authentication-Results: " + WHO.encode() + rb";((?:[^\n]|\n[ \t])*)", re.MULTILINE)


class OpenDkim(Running):
    """keys: name of a key record → the record."""

    def __init__(self, place: Path, keys: Mapping[str, str]) -> None:
        binary = program("opendkim", "opendkim")
        self.port = free_port(POSTFIX_HOST)
        (place / "keys").write_text("".join(f"{name} {record}\n" for name, record in keys.items()))
        config = place / "opendkim.conf"
        config.write_text(CONFIG.format(who=WHO, keys=place / "keys", port=self.port, host=POSTFIX_HOST))
        super().__init__(place, "opendkim", [binary, "-f", "-x", str(config)])

    @property
    def milter(self) -> str:
        """What to add to Postfix's main.cf."""
        return f"smtpd_milters = inet:{POSTFIX_HOST}:{self.port}\nmilter_default_action = tempfail\n"

    def start(self) -> None:
        super().start()
        entry = f"{self.port:04X}"
        wait_until(lambda: f":{entry} " in Path("/proc/net/tcp").read_text(), "OpenDKIM listens")


def verdicts(content: bytes) -> list[str]:
    """What it has told of each signature of a message: `pass`, `fail` …"""
    found = _TOLD.search(content)
    return [] if found is None else re.findall(r"\bdkim=([a-z]+)", found[1].decode("latin-1"))
