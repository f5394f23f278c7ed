"""
Checks of a message that came in, as a policy asks for them: DKIM, ARC, SPF, DMARC, the address it came from.

`kumo.spf`, `kumo.dmarc`, `kumo.mail_auth` and the methods of a message end here.  All of them can be awaited; none decides
anything, and none fails because the DNS does: then a result says so.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Protocol

from msgspec import Struct

from kumotwist.authentication import arc, dmarc
from kumotwist.authentication.lookups import Lookups, Unanswered
from kumotwist.authentication.results import AuthenticationResult
from kumotwist.authentication.spf import SpfResult, check_host
from kumotwist.authentication.verification import verify
from kumotwist.hooks.author import NoAuthor, author_domain
from kumotwist.hooks.context import services
from kumotwist.mail.message import Message

_MOST_NAMES = 10  # names of an address that are looked at


class HasMeta(Protocol):
    """A message or a connection."""

    def get_meta(self, key: str) -> Any: ...


class SpfCheck(Struct, frozen=True, kw_only=True):
    """disposition: the result's word.  domain: whose record was asked; with `pass`, that it stands behind the sender."""

    disposition: str
    result: AuthenticationResult
    domain: str = ""


def lookups(what: str) -> Lookups:
    """The DNS of the server that the policy runs in."""
    found = services(what).lookups
    if found is None:
        raise RuntimeError(f"{what}: there is no DNS here")
    return found


def now(what: str) -> float:
    return services(what).clock.seconds()


async def dkim_results(message: Message) -> list[AuthenticationResult]:
    """A result for each signature; none for a message without."""
    return await verify(message.content or b"", lookups("dkim_verify"), now("dkim_verify"))


async def arc_chain(message: Message) -> arc.Chain:
    return await arc.verify_chain(message.content or b"", lookups("arc_verify"), now("arc_verify"))


async def spf_of(about: HasMeta, domain: str, sender: str, what: str) -> SpfCheck:
    """
    Whether the domain lets the client send.  about: whose metadata say where the client is and how it greeted.

    Raises ValueError where they do not say where.
    """
    address = client_address(about)
    if address is None:
        raise ValueError(f"{what}: nobody knows which address the client has: there is no received_from")
    helo = str(about.get_meta("ehlo_domain") or "")
    found: SpfResult = await check_host(
        lookups(what), address, domain, sender, helo, receiver=str(about.get_meta("hostname") or "unknown"), now=now(what)
    )
    return SpfCheck(disposition=found.result, result=found.told(sender=sender, helo=helo), domain=domain)


def client_address(about: HasMeta) -> str | None:
    """The client's IP address, from `received_from` with its port or without."""
    given = about.get_meta("received_from")
    if not isinstance(given, str):
        return None
    host = given.rpartition(":")[0] if given.startswith("[") or given.count(":") == 1 else given
    try:
        return str(ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


async def dmarc_of(message: Message, dkim: Sequence[AuthenticationResult], spf: SpfCheck | None) -> dmarc.DmarcResult:
    """What the domain of From wants.  A message that names no one author is `None`: nobody speaks for it."""
    try:
        author = author_domain(message.content or b"")
    except NoAuthor as fault:
        return _no_author(str(fault))
    except ValueError as fault:
        return _no_author(str(fault))
    around = services("dmarc.check_msg")
    return await dmarc.evaluate(
        lookups("dmarc.check_msg"),
        author,
        dkim=dkim,
        spf="none" if spf is None else spf.disposition,
        spf_domain="" if spf is None else spf.domain,
        draw=around.draw,
    )


def _no_author(reason: str) -> dmarc.DmarcResult:
    told = AuthenticationResult(method="dmarc", result="permerror", reason=reason)
    return dmarc.DmarcResult(disposition="None", result=told)


async def iprev_of(about: HasMeta) -> AuthenticationResult:
    """Whether a name of the client's address leads back to it (RFC 8601 section 3)."""
    address = client_address(about)
    if address is None:
        return AuthenticationResult(method="iprev", result="permerror", reason="nobody knows the client's address")
    where, props = ip_address(address), {"policy.iprev": address}
    asked = lookups("mail_auth.check")
    try:
        names = await asked.names(address)
        for name in list(names)[:_MOST_NAMES]:
            if any(ip_address(found) == where for found in await asked.addresses(name, where.version)):
                return AuthenticationResult(method="iprev", result="pass", props={**props, "smtp.remote-host": name})
    except Unanswered as fault:
        return AuthenticationResult(method="iprev", result="temperror", reason=str(fault), props=props)
    if not names:
        return AuthenticationResult(method="iprev", result="permerror", reason="the address has no name", props=props)
    return AuthenticationResult(method="iprev", result="fail", reason="no name leads back to the address", props=props)
