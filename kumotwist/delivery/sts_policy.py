"""
MTA-STS: what a domain says about TLS on the way to its hosts, as text and as a decision.  Pure; RFC 8461.

A domain names a version of its policy in the DNS and the policy itself on a web server.  Whoever has read it once holds on
to it until it is too old, whatever the DNS says in the meantime.
"""

from collections.abc import Iterable
from enum import Enum

from msgspec import Struct

from kumotwist.config.egress import EnableTls

_VERSION = "STSv1"
_LONGEST_ID = 32
_MOST_AGE = 31_557_600  # seconds: RFC 8461 section 3.2
_MOST_HOSTS = 1000


class BadPolicy(ValueError):
    """It is no policy; the argument says why.  There is then none."""


class StsMode(Enum):
    """What a policy wants of those who heed it."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class StsPolicy(Struct, frozen=True, kw_only=True):
    """hosts: names, or `*.` and a name, in lower case.  max_age: seconds for which it may be kept."""

    mode: StsMode
    hosts: tuple[str, ...]
    max_age: float


def read_record(texts: Iterable[str]) -> str | None:
    """
    The policy's id, from the TXT records at `_mta-sts.DOMAIN`; None where the domain has no policy.

    That is also so where there are two such records, or one without an id (section 3.1).
    """
    found = [text for text in texts if text.partition(";")[0].strip() == f"v={_VERSION}"]
    if len(found) != 1:
        return None
    for field in found[0].split(";")[1:]:
        name, _, value = field.partition("=")
        value = value.strip()
        if name.strip() == "id":
            return value if value.isascii() and value.isalnum() and len(value) <= _LONGEST_ID else None
    return None


def read_policy(octets: bytes) -> StsPolicy:
    """The policy that a web server handed out (section 3.2).  Raises BadPolicy."""
    try:
        lines = octets.decode().split("\n")
    except UnicodeDecodeError:
        raise BadPolicy("it is not UTF-8") from None
    fields: dict[str, str] = {}
    hosts: list[str] = []
    for line in lines:
        key, colon, value = line.strip().partition(":")
        key, value = key.strip(), value.strip()
        if colon and key == "mx":
            hosts.append(value.lower().removesuffix("."))
        elif colon:
            fields.setdefault(key, value)  # of several, all but the first are ignored
    if fields.get("version") != _VERSION:
        raise BadPolicy(f"its version is not {_VERSION}")
    try:
        mode = StsMode(fields.get("mode"))
    except ValueError:
        raise BadPolicy("it has no mode that is known") from None
    age = fields.get("max_age", "")
    if not (age.isascii() and age.isdigit() and len(age) <= 10):
        raise BadPolicy("it has no max_age")
    if mode is not StsMode.NONE and not hosts:
        raise BadPolicy("it names no host")
    return StsPolicy(mode=mode, hosts=tuple(hosts[:_MOST_HOSTS]), max_age=float(min(int(age), _MOST_AGE)))


def allows(policy: StsPolicy | None, host: str) -> bool:
    """Whether mail may go to a host: only `enforce` forbids anything.  A `*` stands for one label (section 4.1)."""
    if policy is None or policy.mode is not StsMode.ENFORCE:
        return True
    name = host.lower().removesuffix(".")
    _, _, parent = name.partition(".")
    return any(pattern == name or (pattern.startswith("*.") and pattern[2:] == parent) for pattern in policy.hosts)


_TESTING = {  # what is tested must not keep mail from going; who insists on TLS for his own reasons keeps it
    EnableTls.DISABLED: EnableTls.OPPORTUNISTIC_INSECURE,
    EnableTls.OPPORTUNISTIC: EnableTls.OPPORTUNISTIC_INSECURE,
}


def mode_under(policy: StsPolicy | None, configured: EnableTls) -> EnableTls:
    """
    What holds for encryption where `enable_tls` says one thing and a policy another.

    As in the model, but for `testing`, which never lowers a configured Required (there it does).
    """
    if policy is None or policy.mode is StsMode.NONE:
        return configured
    return EnableTls.REQUIRED if policy.mode is StsMode.ENFORCE else _TESTING.get(configured, configured)
