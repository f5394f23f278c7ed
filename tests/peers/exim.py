"""
Exim as a peer: one daemon that listens on several ports, each with its own idea of TLS.

On Debian it cannot be installed beside Postfix, so its package is only unpacked.  `KUMOTWIST_EXIM` names the program where that
was done; else one that is installed is taken, and else the package is fetched and unpacked into the user's cache.  Exim insists
on the user that it was built for, whom installing would have made: a copy is run in which another name stands for that.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.peers.support import PATIENCE, Running, lacking, program, wait_until
from tests.peers.tls_ports import NAME, TlsPort, free_ports

EXIM_HOST = "127.0.0.9"
_BUILT_FOR, _OWNER = b"Debian-exim\0", "mail"  # the second is a user and a group everywhere

CONFIG = """\
primary_hostname = mx.exim.example
exim_user = {owner}
spool_directory = {place}/spool
log_file_path = {place}/%slog
pid_file_path = {place}/exim.pid
local_interfaces = <; {interfaces}
keep_environment =
exim_path = {exim}
acl_smtp_rcpt = accept
acl_smtp_data = taken
smtp_accept_max = 0
smtp_accept_queue = 0
smtp_enforce_sync = false
tls_advertise_hosts = ${{if exists{{{place}/$received_port.offer}}{{*}}{{}}}}
tls_certificate = {place}/$received_port.pem
tls_require_ciphers = ${{if exists{{{place}/$received_port.old}}{{NORMAL:-VERS-ALL:+VERS-TLS1.0}}{{NORMAL}}}}
begin acl
taken:
  discard
"""


class Exim(Running):
    """A receiver that takes all mail and throws it away.  ports: name → how that port does TLS."""

    def __init__(self, place: Path, ports: Mapping[str, TlsPort]) -> None:
        if os.geteuid() != 0:
            lacking("Exim can only be started by root, and we are not")
        (place / "spool").mkdir(parents=True)
        exim = _for_owner(_program(), place / "exim")
        self.place = place
        self.ports = free_ports(EXIM_HOST, ports)
        interfaces = "; ".join(f"[{EXIM_HOST}]:{port}" for port in self.ports.values())
        facts = {"place": place, "owner": _OWNER, "exim": exim, "interfaces": interfaces}
        (place / "exim.conf").write_text(CONFIG.format(**facts))
        for name, port in ports.items():
            if port.chain is not None:
                (place / f"{self.ports[name]}.offer").touch()
                (place / f"{self.ports[name]}.pem").write_bytes(port.chain)
            if port.old:
                (place / f"{self.ports[name]}.old").touch()
        for path in (place, *place.iterdir()):
            shutil.chown(path, _OWNER, _OWNER)
        os.chown(place / "exim.conf", 0, 0)
        super().__init__(place, "exim.daemon", [exim, "-C", str(place / "exim.conf"), "-bdf"])

    def mx_of(self, name: str, host: str = NAME) -> str:
        """A port as an entry of `mx_list`.  host: what it is called."""
        return f'{{name: {host}, addr: "{EXIM_HOST}:{self.ports[name]}"}}'

    def start(self) -> None:
        super().start()
        wait_until(self._listens, "exim listens")

    def _listens(self) -> bool:
        assert self.runs, f"{self.said()}{self.log()}"
        return "listening for SMTP" in self.log()

    def log(self) -> str:
        log = self.place / "mainlog"
        return log.read_text("utf-8", "replace") if log.exists() else ""

    def kill(self) -> None:
        """It answers for the processes that it has made."""
        if self.runs and self.process is not None:
            self.process.terminate()
            self.wait()


def _for_owner(exim: str, copy: Path) -> str:
    """A copy of the program that runs as `_OWNER`."""
    whole = Path(exim).read_bytes()
    copy.write_bytes(whole.replace(_BUILT_FOR, _OWNER.encode().ljust(len(_BUILT_FOR), b"\0")))
    copy.chmod(0o755)
    return str(copy)


def _program() -> str:
    """Exim's, unpacked if need be; skips where it cannot be had."""
    given = os.environ.get("KUMOTWIST_EXIM")
    if given:
        return given
    installed = shutil.which("exim4", path="/usr/sbin:/usr/bin")
    if installed is not None:
        return installed
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kumotwist" / "exim"
    unpacked = cache / "usr/sbin/exim4"
    if not unpacked.exists():
        _unpack(cache)
    if not unpacked.exists():
        lacking("Exim (Debian package `exim4-daemon-light`) can neither be found nor fetched")
    return str(unpacked)


def _unpack(cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    for command in (
        [program("apt-get", "apt"), "-qq", "download", "exim4-daemon-light"],
        ["sh", "-c", 'dpkg -x "$(ls -t exim4-daemon-light_*.deb | head -n 1)" .'],
    ):
        if subprocess.run(command, cwd=cache, capture_output=True, timeout=PATIENCE, check=False).returncode:
            return
