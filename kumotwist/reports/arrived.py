"""What a message that came in reports, if it does: a complaint first, then a bounce that keeps to a standard, then one in words."""

from collections.abc import Sequence

from msgspec import Struct

from kumotwist.mail.address import Mailbox
from kumotwist.reports.delivery_status import BounceReport, read_bounce
from kumotwist.reports.feedback import Complaint, read_complaint
from kumotwist.reports.parts import part_of
from kumotwist.reports.unstructured import read_bounce_in_words

LARGEST_REPORT = 1024 * 1024  # octets of a message that are looked at; what comes behind is the returned message's body

Report = Complaint | BounceReport


class Reported(Struct, frozen=True):
    """A message that came in and is a report.  consumed: it goes no further; its records are all that stays of it."""

    report: Report
    consumed: bool


def read_report(
    content: bytes, sender: Mailbox, recipients: Sequence[Mailbox], *, bounces: bool = True, complaints: bool = True
) -> Report | None:
    """
    The report in a message; None for mail as any other.  Never raises for what a message holds.

    bounces, complaints: which are looked for.
    """
    message = part_of(content[:LARGEST_REPORT])
    if complaints and (found := read_complaint(message, recipients)) is not None:
        return found
    if not bounces:
        return None
    return read_bounce(message, recipients) or read_bounce_in_words(message, sender, recipients)
