"""`kumo.spf`: whether a domain lets a client send in its name."""

from typing import TYPE_CHECKING, Never

from kumotwist.hooks.absent import missing
from kumotwist.hooks.checks import SpfCheck, spf_of
from kumotwist.hooks.connection import ConnMeta
from kumotwist.hooks.message import PolicyMessage

__all__ = ["check_host", "check_msg"]


async def check_host(domain: str, conn_meta: ConnMeta, sender: str | None = None) -> SpfCheck:
    """
    Ask for one domain.  sender: the envelope sender; None: `postmaster@domain`, as where the client's greeting is checked.

    Raises ValueError where the connection does not say which address the client has.
    """
    return await spf_of(conn_meta, domain, f"postmaster@{domain}" if sender is None else sender, "spf.check_host")


async def check_msg(message: PolicyMessage) -> SpfCheck:
    """
    Ask for the domain of the envelope sender, or of the client's greeting where the sender is empty.

    Raises ValueError for a message without `received_from`, such as one that the policy made.
    """
    domain = message.sender.domain or str(message.get_meta("ehlo_domain") or "")
    return await spf_of(message, domain, message.sender.email, "spf.check_msg")


if not TYPE_CHECKING:  # else no name would be unknown to a type checker

    def __getattr__(name: str) -> Never:
        raise missing("kumo.spf", name, __all__)
