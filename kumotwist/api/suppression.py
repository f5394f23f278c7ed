"""`/api/admin/suppression/v1`: who gets no more mail; looked up, added to and cancelled by an operator or a program."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kumotwist.api.endpoint import Call, Endpoint, Problem
from kumotwist.config.fields import BadValue, format_duration, parse_duration
from kumotwist.logs.record import rfc3339
from kumotwist.mail.address import BadAddress
from kumotwist.suppression.entry import LONGEST_REASON, Entry, id_of, parse_subject
from kumotwist.suppression.service import Suppression

PATH = "/api/admin/suppression/v1"
MOST_LISTED = 10_000  # entries in one answer
_USUALLY_LISTED = 1000
_MOST_ADDED = 10_000  # entries in one request

InThread = Callable[..., "Deferred[Any]"]


class SuppressV1Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Whom to suppress: any of recipient, recipients, domain, domains.

    tenant: for whose mail it holds; empty: for mail without a tenant; absent: for everybody's.
    duration: seconds, or a text such as `90 days`.  expires: RFC 3339, instead.  Neither: until it is cancelled.
    """

    recipient: str | None = None
    recipients: list[str] = []
    domain: str | None = None
    domains: list[str] = []
    tenant: str | None = None
    reason: str
    duration: str | float | None = None
    expires: str | None = None


class SuppressV1CancelRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to cancel: an entry by its id, or by recipient or domain, and tenant (absent: the one for everybody's mail)."""

    id: str | None = None
    recipient: str | None = None
    domain: str | None = None
    tenant: str | None = None


class SuppressV1Query(Struct, frozen=True, kw_only=True):
    """
    Which entries to list; without recipient and domain: all, by their ids.

    recipient: those that hold for it.  domain: those about the domain itself.  tenant: only this tenant's; everybody: only those
    for everybody's mail.  limit: at most so many.  after: those behind the entry of this id.
    """

    recipient: str | None = None
    domain: str | None = None
    tenant: str | None = None
    everybody: bool = False
    limit: int = _USUALLY_LISTED
    after: str = ""


class SuppressV1Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One entry.  tenant: absent where it holds for everybody's mail.  created, expires: RFC 3339; expires absent: never.

    duration: the time that remains.  cause: the id of the message that a rule made it for.
    """

    id: str
    recipient: str | None = None
    domain: str | None = None
    tenant: str | None = None
    reason: str
    created: str
    expires: str | None = None
    duration: str | None = None
    cause: str | None = None


def suppression_endpoints(suppression: Suppression, clock: IReactorTime, in_thread: InThread) -> tuple[Endpoint, ...]:
    asked = _Asked(suppression, clock, in_thread)
    return (
        Endpoint(
            method="GET",
            path=PATH,
            summary="Who is suppressed",
            tag="suppression",
            query=SuppressV1Query,
            answers=list[SuppressV1Entry],
            run=asked.find,
        ),
        Endpoint(
            method="POST",
            path=PATH,
            summary="Suppress addresses and domains: they get no more mail",
            tag="suppression",
            asks=SuppressV1Request,
            answers=list[SuppressV1Entry],
            run=asked.add,
        ),
        Endpoint(
            method="DELETE",
            path=PATH,
            summary="Cancel an entry: mail goes there again",
            tag="suppression",
            asks=SuppressV1CancelRequest,
            answers=SuppressV1Entry,
            refusals={404: "there is no such entry"},
            run=asked.cancel,
        ),
    )


class _Asked:
    """The three of them."""

    def __init__(self, suppression: Suppression, clock: IReactorTime, in_thread: InThread) -> None:
        self._suppression = suppression
        self._clock = clock
        self._in_thread = in_thread

    async def find(self, call: Call, query: SuppressV1Query) -> list[SuppressV1Entry]:
        if not 1 <= query.limit <= MOST_LISTED:
            raise Problem(422, f"limit: expected 1 to {MOST_LISTED}")
        if query.everybody and query.tenant is not None:
            raise Problem(422, "everybody: beside a tenant, expected one of them")
        subjects = _subjects([query.recipient], [query.domain])
        if query.recipient is not None:
            subjects.append(subjects[0].rpartition("@")[2])
        now = self._clock.seconds()

        def wanted(entry: Entry) -> bool:
            if entry.expires is not None and entry.expires <= now:
                return False
            return entry.tenant is None if query.everybody else query.tenant is None or entry.tenant == query.tenant

        suppression = self._suppression
        if subjects:
            ids = [id_of(subject, tenant) for subject in subjects for tenant in suppression.listed.about(subject)]
            found: list[Entry] = await self._in_thread(suppression.entries, ids)
            found = [entry for entry in found if wanted(entry)]
        else:
            found = await self._in_thread(suppression.kept, query.limit, query.after, wanted)
        return [_shown(entry, now) for entry in found[: query.limit]]

    async def add(self, call: Call, request: SuppressV1Request) -> list[SuppressV1Entry]:
        subjects = _subjects([request.recipient, *request.recipients], [request.domain, *request.domains])
        if not subjects:
            raise Problem(422, "expected a recipient or a domain")
        if len(subjects) > _MOST_ADDED:
            raise Problem(422, f"expected at most {_MOST_ADDED} recipients and domains")
        if not request.reason or len(request.reason) > LONGEST_REASON:
            raise Problem(422, f"reason: expected 1 to {LONGEST_REASON} characters")
        now = self._clock.seconds()
        expires = _expires(request, now)
        entries = [Entry(subject, request.tenant, request.reason, now, expires) for subject in dict.fromkeys(subjects)]
        await self._suppression.add(entries)
        return [_shown(entry, now) for entry in entries]

    async def cancel(self, call: Call, request: SuppressV1CancelRequest) -> SuppressV1Entry:
        subjects = _subjects([request.recipient], [request.domain])
        if len(subjects) + (request.id is not None) != 1:
            raise Problem(422, "expected an id, or a recipient, or a domain")
        wanted = id_of(subjects[0], request.tenant) if subjects else str(request.id)
        entry: Entry | None = await self._in_thread(self._suppression.entry, wanted) if _is_id(wanted) else None
        cancelled = self._suppression.cancel(entry.subject, entry.tenant) if entry is not None else None
        if entry is None or cancelled is None:
            raise Problem(404, "there is no such entry")
        await cancelled
        return _shown(entry, self._clock.seconds())


def _is_id(text: str) -> bool:
    return len(text) == 32 and all(one in "0123456789abcdef" for one in text)


def _subjects(recipients: list[str | None], domains: list[str | None]) -> list[str]:
    """Raises Problem."""
    try:
        addresses = [parse_subject(one) for one in recipients if one is not None]
        return addresses + [parse_subject(one, domain=True) for one in domains if one is not None]
    except BadAddress as fault:
        raise Problem(422, str(fault)) from None


def _expires(request: SuppressV1Request, now: float) -> float | None:
    """Epoch seconds; None: never.  Raises Problem."""
    if request.expires is not None:
        try:
            moment: datetime | None = datetime.fromisoformat(request.expires)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise Problem(422, f"expires: {request.expires!r}, expected a time such as 2026-08-04T12:00:00Z")
        until = moment.timestamp()
    elif request.duration is not None:
        try:
            until = now + parse_duration(str(request.duration))
        except BadValue as fault:
            raise Problem(422, f"duration: {fault}") from None
    else:
        return None
    if until <= now:
        raise Problem(422, "it would have expired already")
    return until


def _shown(entry: Entry, now: float) -> SuppressV1Entry:
    return SuppressV1Entry(
        id=entry.id,
        recipient=None if entry.is_domain else entry.subject,
        domain=entry.subject if entry.is_domain else None,
        tenant=entry.tenant,
        reason=entry.reason,
        created=rfc3339(entry.created),
        expires=None if entry.expires is None else rfc3339(entry.expires),
        duration=None if entry.expires is None else format_duration(max(0.0, round(entry.expires - now))),
        cause=entry.cause or None,
    )
