"""`kumo.suppression`: who gets no more mail."""

from typing import TYPE_CHECKING, Never

from kumotwist.config.fields import BadValue, parse_duration
from kumotwist.hooks.absent import missing
from kumotwist.hooks.context import Suppressing, services
from kumotwist.mail.address import Mailbox

__all__ = ["add", "find", "remove"]

_OF = "kumo.suppression"


def find(recipient: str | Mailbox, tenant: str | None = None) -> str | None:
    """
    Why a recipient gets no mail of this tenant; None: there is no reason.

    tenant: "" for mail without one; None: only what holds for everybody's mail is looked at.  Raises ValueError: no address.
    """
    return _list().why(_text(recipient), tenant)


async def add(
    *,
    recipient: str | Mailbox | None = None,
    domain: str | None = None,
    tenant: str | None = None,
    reason: str,
    expires: str | float | None = None,
) -> None:
    """
    Put an address, or a domain, on the list; in force at once, and on disk when it returns.

    tenant: for whose mail it holds; "": for mail without a tenant; None: for everybody's.  expires: after so many seconds, or
    a text such as `90 days`; None: never.  Raises ValueError.
    """
    if not isinstance(reason, str) or not reason:
        raise ValueError(f"{_OF}.add: reason: {reason!r}, expected a text")
    try:
        lasts = None if expires is None else parse_duration(str(expires))
    except BadValue as fault:
        raise ValueError(f"{_OF}.add: expires: {fault}") from None
    await _list().forbid(*_one("add", recipient, domain), tenant, reason, lasts)


async def remove(*, recipient: str | Mailbox | None = None, domain: str | None = None, tenant: str | None = None) -> bool:
    """Take the entry of exactly this off the list; False: there was none.  Raises ValueError."""
    return await _list().allow(*_one("remove", recipient, domain), tenant)


def _one(of: str, recipient: str | Mailbox | None, domain: str | None) -> tuple[str, bool]:
    """The one that was given, and whether it is a domain."""
    if (recipient is None) is (domain is None):
        raise ValueError(f"{_OF}.{of}: expected either a recipient or a domain")
    return (_text(recipient), False) if recipient is not None else (str(domain), True)


def _text(recipient: str | Mailbox) -> str:
    return recipient.email if isinstance(recipient, Mailbox) else recipient


def _list() -> Suppressing:
    found = services(_OF).suppression()
    if found is None:
        raise RuntimeError(f"{_OF} is there once the server has started, in handlers of other events than init")
    return found


if not TYPE_CHECKING:  # else no name would be unknown to a type checker

    def __getattr__(name: str) -> Never:
        raise missing(_OF, name, __all__)
