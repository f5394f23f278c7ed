"""`kumo.dmarc`: what the domain of From wants done with a message."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Never

from kumotwist.authentication.dmarc import DmarcResult
from kumotwist.authentication.results import AuthenticationResult
from kumotwist.hooks.absent import missing
from kumotwist.hooks.checks import SpfCheck, dmarc_of
from kumotwist.hooks.message import PolicyMessage, message_of

__all__ = ["check_msg"]


async def check_msg(
    message: PolicyMessage, dkim_results: Sequence[AuthenticationResult], spf_result: SpfCheck | None
) -> DmarcResult:
    """
    dkim_results: what `msg.dkim_verify` found.  spf_result: what `kumo.spf.check_msg` found; None: it was not asked.

    Its `disposition` is `Pass`, `None`, `Quarantine`, `Reject`, `TempError` or `PermError`.
    """
    return await dmarc_of(message_of(message), dkim_results, spf_result)


if not TYPE_CHECKING:  # else no name would be unknown to a type checker

    def __getattr__(name: str) -> Never:
        raise missing("kumo.dmarc", name, __all__)
