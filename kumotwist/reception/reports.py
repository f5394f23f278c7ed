"""Reports of bounces and complaints that come in as mail: whether a message is one, and what is to become of it."""

from collections.abc import Sequence

from kumotwist.config.listeners import ListenerDomain, ReportHandling
from kumotwist.mail.address import Mailbox
from kumotwist.mail.message import Message
from kumotwist.reports.arrived import Report, Reported, read_report
from kumotwist.reports.feedback import Complaint


def reported_by(message: Message, domain: ListenerDomain) -> Reported | None:
    """What a message to such a domain reports, and whether that is its end; None: it is mail as any other."""
    report = report_for(message.content or b"", message.sender, message.recipients, domain)
    if report is None:
        return None
    handling = domain.log_arf if isinstance(report, Complaint) else domain.log_oob
    return Reported(report, consumed=handling is ReportHandling.LOG_THEN_DROP)


def report_for(content: bytes, sender: Mailbox, recipients: Sequence[Mailbox], domain: ListenerDomain) -> Report | None:
    """The report in a message, of the kinds that the domain wants logged."""
    return read_report(
        content,
        sender,
        recipients,
        bounces=domain.log_oob is not ReportHandling.IGNORE,
        complaints=domain.log_arf is not ReportHandling.IGNORE,
    )
