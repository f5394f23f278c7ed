"""
The list in memory: asked for each recipient, at reception and before each attempt.

It knows only what has to be known then; all of an entry lies on the spool's shelf.  A million entries take some 300 MiB.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from kumotwist.mail.address import Mailbox
from kumotwist.mail.reply import Refusal
from kumotwist.suppression.entry import Entry, Suppressed, address_subject


class _Held(Struct, frozen=True, gc=False):
    """expires: epoch seconds; None: never."""

    reason: str
    expires: float | None


class SuppressionList:
    """
    stands: whether there is anything on it; where there is nothing, that is all that asking costs.

    size: how many entries.
    """

    __slots__ = ("_by_tenant", "_reasons", "size", "stands")

    def __init__(self) -> None:
        self.stands = False
        self.size = 0
        self._by_tenant: dict[str | None, dict[str, _Held]] = {}
        self._reasons: dict[str, str] = {}  # one text for all entries that have the same

    def find(self, recipient: Mailbox, tenant: str | None, now: float) -> Suppressed | None:
        """
        Why a recipient gets no mail of this tenant; None: there is no reason.

        tenant: empty for mail without one; None where it is not known yet: only what holds for everybody counts then.
        """
        address = address_subject(recipient)
        for whose in (None,) if tenant is None else (None, tenant):
            held = self._by_tenant.get(whose)
            if held is None:
                continue
            for subject in (address, recipient.domain):
                one = held.get(subject)
                if one is not None and (one.expires is None or one.expires > now):
                    return Suppressed(subject, whose, one.reason)
        return None

    def check(self, recipient: Mailbox, tenant: object, now: float) -> None:
        """
        Raises Refusal for a recipient who gets no mail of this tenant.

        tenant: as it stands in metadata; what is no text is not known.
        """
        found = self.find(recipient, tenant if isinstance(tenant, str) else None, now)
        if found is not None:
            raise Refusal(found.refusal, found.bounce.text)

    def hold(self, entries: Iterable[Entry]) -> None:
        """They are on the list from now on, each in the place of what was there for its subject and tenant."""
        for entry in entries:
            held = self._by_tenant.setdefault(entry.tenant, {})
            before = len(held)
            held[entry.subject] = _Held(self._reasons.setdefault(entry.reason, entry.reason), entry.expires)
            self.size += len(held) - before
        self.stands = self.size > 0

    def drop(self, subject: str, tenant: str | None) -> bool:
        """It is off the list; whether it was on it."""
        held = self._by_tenant.get(tenant)
        if held is None or held.pop(subject, None) is None:
            return False
        self.size -= 1
        if not held:
            del self._by_tenant[tenant]
        self.stands = self.size > 0
        if not self.stands:
            self._reasons.clear()
        return True

    def lasts(self, subject: str, tenant: str | None) -> float | None:
        """When the entry of exactly this expires, epoch seconds: infinity for one that does not; None: there is none."""
        one = self._by_tenant.get(tenant, {}).get(subject)
        if one is None:
            return None
        return float("inf") if one.expires is None else one.expires

    def about(self, subject: str) -> Iterator[str | None]:
        """The tenants for which there is an entry of exactly this; None among them: one for everybody."""
        for whose, held in list(self._by_tenant.items()):
            if subject in held:
                yield whose

    def expired(self, now: float, most: int) -> Iterator[list[tuple[str, str | None]]]:
        """(subject, tenant) of what has expired; looks at so many entries at a time, and is told of changes in between."""
        for whose in list(self._by_tenant):
            subjects = list(self._by_tenant.get(whose, ()))
            for at in range(0, len(subjects), most):
                held = self._by_tenant.get(whose, {})
                over = []
                for subject in subjects[at : at + most]:
                    one = held.get(subject)
                    if one is not None and one.expires is not None and one.expires <= now:
                        over.append((subject, whose))
                yield over
