"""`kumo.mail_auth`: all checks of a message in one call, and what they found put into the message."""

from typing import TYPE_CHECKING, Never

from msgspec import Struct

from kumotwist.authentication.dmarc import DmarcResult
from kumotwist.authentication.results import AuthenticationResult
from kumotwist.hooks.absent import missing
from kumotwist.hooks.checks import SpfCheck, arc_chain, client_address, dkim_results, dmarc_of, iprev_of
from kumotwist.hooks.message import PolicyMessage, message_of
from kumotwist.hooks.spf import check_msg

__all__ = ["check"]


class MailAuth(Struct, frozen=True, kw_only=True):
    """What each check found; None, or empty, where it was not asked for.  auth_results: all of it, in order."""

    dkim: tuple[AuthenticationResult, ...] = ()
    spf: SpfCheck | None = None
    iprev: AuthenticationResult | None = None
    smtp_auth: AuthenticationResult | None = None
    dmarc: DmarcResult | None = None
    arc: AuthenticationResult | None = None
    auth_results: tuple[AuthenticationResult, ...] = ()


async def check(
    message: PolicyMessage,
    *,
    dkim: bool = True,
    spf: bool = True,
    iprev: bool = True,
    smtp_auth: bool = True,
    dmarc: bool = True,
    arc: bool = True,
    add_auth_results_header: bool = True,
    server_id: str | None = None,
) -> MailAuth:
    """
    Check a message by all that is known of it, and note it in an Authentication-Results field.  It decides nothing.

    dmarc: only where dkim and spf are asked for too.  server_id: who says it; default: the listener's hostname.
    A message that came over no connection has no spf and no iprev.
    """
    inner, here = message_of(message), client_address(message) is not None
    signed = await dkim_results(inner) if dkim else []
    told = list(signed)
    if dkim and not signed:
        told.append(AuthenticationResult(method="dkim", result="none"))
    sender = await check_msg(message) if spf and here else None
    reverse = await iprev_of(message) if iprev and here else None
    login = _login(message) if smtp_auth else None
    wanted = await dmarc_of(inner, signed, sender) if dmarc and dkim and spf else None
    chain = (await arc_chain(inner)).told() if arc else None
    found = (None if sender is None else sender.result, reverse, login, None if wanted is None else wanted.result, chain)
    told += [one for one in found if one is not None]
    if add_auth_results_header:
        message.add_authentication_results(server_id or str(message.get_meta("hostname") or "localhost"), told)
    return MailAuth(
        dkim=tuple(signed), spf=sender, iprev=reverse, smtp_auth=login, dmarc=wanted, arc=chain, auth_results=tuple(told)
    )


def _login(message: PolicyMessage) -> AuthenticationResult | None:
    """RFC 8601 section 2.7.4; nothing where nobody logged in."""
    authn_id = message.get_meta("authn_id")
    if not isinstance(authn_id, str):
        return None
    return AuthenticationResult(method="auth", result="pass", props={"smtp.auth": authn_id})


if not TYPE_CHECKING:  # else no name would be unknown to a type checker

    def __getattr__(name: str) -> Never:
        raise missing("kumo.mail_auth", name, __all__)
