"""What a failure or a complaint puts on the suppression list, by the configured rules.  Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from kumotwist.config.suppression import ANY_CLASS, Scope, SuppressionRule, What
from kumotwist.mail.address import BadAddress, Mailbox, parse_mailbox
from kumotwist.mail.reply import Reply
from kumotwist.reports.delivery_status import BounceReport
from kumotwist.reports.feedback import Complaint
from kumotwist.reports.original import Original
from kumotwist.suppression.entry import NO_TENANT, Entry, address_subject

OOB, FEEDBACK = "OOB", "Feedback"

# RFC 5965 section 7.3 and RFC 6591: other types tell of a virus, of authentication, or that it was no spam after all.
_COMPLAINTS = frozenset({"abuse", "fraud", "opt-out", "opt-out-list", "other"})

Classify = Callable[[str], str]


class Rules:
    """The rules, and who says which class a response belongs to."""

    __slots__ = ("_classify", "_rules", "kinds")

    def __init__(self, rules: Sequence[SuppressionRule], classify: Classify) -> None:
        self._rules = rules
        self._classify = classify
        self.kinds = frozenset(kind for rule in rules for kind in rule.record_types)

    def of_failure(
        self, kind: str, answer: Reply, recipients: Iterable[Mailbox], tenant: str, cause: str, now: float
    ) -> list[Entry]:
        """Entries that a record of a message of ours makes.  kind: its type.  tenant, cause: of the message, and its id."""
        if kind not in self.kinds:
            return []
        found = self._classify(answer.single_line)
        reason = f"{kind} {found}"
        fitting = [rule for rule in self._rules if kind in rule.record_types and _counts(rule, found)]
        return [_entry(rule, one, reason, tenant, cause, now) for rule in fitting for one in recipients]

    def of_report(self, report: BounceReport | Complaint, now: float) -> list[Entry]:
        """Entries that a report makes which came in as mail."""
        return list(self._of_complaint(report, now) if isinstance(report, Complaint) else self._of_bounce(report, now))

    def _of_bounce(self, report: BounceReport, now: float) -> Iterator[Entry]:
        original = report.original
        rules = self._heeding(OOB, original)
        for failed in report.failed if rules else ():
            # Whom we sent it to: a report may name whom that one has his mail forwarded to.
            recipient = _mailbox(original.recipient or failed.recipient)
            found = self._classify(failed.reply.single_line)
            for rule in rules:
                if recipient is not None and _counts(rule, found):
                    yield _entry(rule, recipient, f"{OOB} {found}", tenant_of(original), original.id, now)

    def _of_complaint(self, complaint: Complaint, now: float) -> Iterator[Entry]:
        original, kind = complaint.original, complaint.report.feedback_type.strip().lower()
        recipient = _mailbox(original.recipient)
        if recipient is not None and kind in _COMPLAINTS:
            for rule in self._heeding(FEEDBACK, original):
                yield _entry(rule, recipient, f"{FEEDBACK} {kind}", tenant_of(original), original.id, now)

    def _heeding(self, kind: str, original: Original) -> list[SuppressionRule]:
        """The rules that a report of that kind counts for."""
        return [rule for rule in self._rules if kind in rule.record_types and (original.id or rule.unquoted)]


def _counts(rule: SuppressionRule, found: str) -> bool:
    return found in rule.classes or ANY_CLASS in rule.classes


def tenant_of(original: Original) -> str:
    """Whose message it was, where the quoted header tells it (`trace_headers` with `include_meta_names: [tenant]`)."""
    named = original.trace.get("tenant") if original.trace is not None else None
    return named if isinstance(named, str) else NO_TENANT


def _mailbox(text: str) -> Mailbox | None:
    try:
        found = parse_mailbox(text)
    except BadAddress:
        return None
    return found if found.domain else None


def _entry(rule: SuppressionRule, recipient: Mailbox, reason: str, tenant: str, cause: str, now: float) -> Entry:
    return Entry(
        recipient.domain if rule.what is What.DOMAIN else address_subject(recipient),
        None if rule.scope is Scope.GLOBAL else tenant,
        reason,
        now,
        None if rule.expires is None else now + rule.expires,
        cause,
    )
