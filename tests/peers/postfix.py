"""
Postfix as a peer: a receiver of its own, and the load generator that it brings.

The instance takes all mail for `*.example` into one Maildir and changes nothing in it but for the trace fields on top.
It shares nothing with an instance of the system but the programs.
"""

import os
import pwd
import signal
import subprocess
from pathlib import Path

from tests.peers.support import PATIENCE, free_port, lacking, program, wait_until

POSTFIX_HOST = "127.0.0.4"

MAIN = """\
compatibility_level = 3.6
queue_directory = {place}/spool
data_directory = {place}/data
maillog_file = {place}/log
maillog_file_prefixes = {place}
mail_owner = postfix
myhostname = mx.postfix.example
mydestination =
mynetworks =
inet_interfaces = all
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
smtpd_relay_restrictions = reject_unauth_destination
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_tls_security_level = {tls}
smtpd_tls_chain_files = {chain}
smtpd_tls_loglevel = 1
smtp_dns_support_level = disabled
default_process_limit = 100
# All mail is delivered here, as it came.
virtual_mailbox_domains = regexp:{place}/etc/domains
virtual_mailbox_maps = static:all/
virtual_mailbox_base = {place}/mail
virtual_mailbox_limit = 0
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
local_header_rewrite_clients =
enable_long_queue_ids = yes
"""

MASTER = """\
{host}:{port} inet n - n - - smtpd
pickup    unix  n  -  n  60    1  pickup
cleanup   unix  n  -  n  -     0  cleanup
qmgr      unix  n  -  n  300   1  qmgr
tlsmgr    unix  -  -  n  1000? 1  tlsmgr
rewrite   unix  -  -  n  -     -  trivial-rewrite
bounce    unix  -  -  n  -     0  bounce
defer     unix  -  -  n  -     0  bounce
trace     unix  -  -  n  -     0  bounce
verify    unix  -  -  n  -     1  verify
flush     unix  n  -  n  1000? 0  flush
proxymap  unix  -  -  n  -     -  proxymap
proxywrite unix -  -  n  -     1  proxymap
smtp      unix  -  -  n  -     -  smtp
relay     unix  -  -  n  -     -  smtp
error     unix  -  -  n  -     -  error
retry     unix  -  -  n  -     -  error
discard   unix  -  -  n  -     -  discard
local     unix  -  n  n  -     -  local
virtual   unix  -  n  n  -     -  virtual
anvil     unix  -  -  n  -     1  anvil
scache    unix  -  -  n  -     1  scache
postlog   unix-dgram n - n -   1  postlogd
"""


def smtp_source() -> str:
    """Postfix's load generator; skips where it is missing."""
    return program("smtp-source", "postfix")


class Postfix:
    """A receiver.  chain: a file with key and certificate to offer STARTTLS with.  extra: more of main.cf."""

    def __init__(self, place: Path, chain: Path | None = None, extra: str = "") -> None:
        self._program = program("postfix", "postfix")
        if os.geteuid() != 0:
            lacking("Postfix can only be started by root, and we are not")
        self.place = place
        self.host, self.port = POSTFIX_HOST, free_port(POSTFIX_HOST)
        self.maildir = place / "mail" / "all" / "new"
        for part in ("etc", "spool", "data", "mail"):
            (place / part).mkdir(parents=True)
        owner = pwd.getpwnam("postfix")
        for part in ("data", "mail"):
            os.chown(place / part, owner.pw_uid, owner.pw_gid)
        facts = {"place": place, "host": self.host, "port": self.port, "uid": owner.pw_uid, "gid": owner.pw_gid}
        tls = {"tls": "may" if chain else "none", "chain": chain or ""}
        self._write("main.cf", MAIN.format(**facts, **tls) + extra)
        self._write("master.cf", MASTER.format(**facts))
        self._write("domains", r"/\.example$/ all" + "\n")

    def _write(self, name: str, text: str) -> None:
        (self.place / "etc" / name).write_text(text, encoding="utf-8")

    @property
    def mx(self) -> str:
        """As an entry of `mx_list`."""
        return f'"[{self.host}]:{self.port}"'

    def log(self) -> str:
        log = self.place / "log"
        return log.read_text("utf-8", "replace") if log.exists() else ""

    def _order(self, word: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self._program, "-c", str(self.place / "etc"), word],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def start(self) -> None:
        answer = self._order("start")
        if answer.returncode:
            raise AssertionError(f"Postfix does not start:\n{answer.stdout}{answer.stderr}{self.log()}")

    def kill(self) -> None:
        """End it and all processes that it has made."""
        try:
            master = int((self.place / "spool/pid/master.pid").read_text())
        except (OSError, ValueError):
            return  # it never came so far
        self._order("stop")
        try:
            os.killpg(master, signal.SIGKILL)  # master leads a group of its own, where what it started stays
        except ProcessLookupError:
            return

    def count(self) -> int:
        """How many messages have been delivered."""
        return len(os.listdir(self.maildir)) if self.maildir.exists() else 0

    def wait_for(self, count: int) -> None:
        """Until that many have been delivered."""
        try:
            wait_until(lambda: self.count() >= count, f"{count} messages at Postfix")
        except AssertionError as late:
            raise AssertionError(f"{late}; it has {self.count()}:\n{self.log()[-3000:]}") from None

    def delivered(self) -> list[bytes]:
        """The messages as they were delivered, with CRLF again."""
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in sorted(self.maildir.iterdir())]


def as_received(content: bytes) -> tuple[dict[str, str], bytes]:
    """
    What Postfix put on top (Return-Path, X-Original-To, Delivered-To), and the content as it came to Postfix.

    Its own Received field is taken off too.
    """
    fields: dict[str, str] = {}
    while True:
        line, _, rest = content.partition(b"\r\n")
        name, _, value = line.partition(b": ")
        while rest[:1] in (b" ", b"\t"):
            _, _, rest = rest.partition(b"\r\n")
        content = rest
        if name == b"Received":
            return fields, content
        fields[name.decode()] = value.decode("utf-8")
