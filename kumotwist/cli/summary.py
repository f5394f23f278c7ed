"""What `queue-summary` and `provider-summary` show, from the metrics and the lists of orders.  Pure."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from kumotwist.cli.columns import columns
from kumotwist.cli.criteria import PARTS, Chosen
from kumotwist.cli.shown_metrics import Metrics

Order = Mapping[str, Any]

STOP, BIN = "\U0001f6d1", "\U0001f5d1"  # a stop sign, a bin
_DIGITS = re.compile(r"(\d+)")


class ReadyRow(Struct, frozen=True, kw_only=True):
    """A ready queue: recently delivered and put off, connections now, messages now."""

    name: str
    source: str
    site: str
    protocol: str
    delivered: int
    transfail: int
    connections: int
    queued: int
    status: str = ""


class ScheduledRow(Struct, frozen=True):
    """A scheduled queue."""

    name: str
    count: int
    status: str = ""


class ProviderRow(Struct, frozen=True, kw_only=True):
    """A provider, or a site without one."""

    provider: str
    pool: str = ""
    delivered: int = 0
    transfail: int = 0
    failed: int = 0
    connections: int = 0
    queued: int = 0

    @property
    def volume(self) -> int:
        return self.delivered + self.transfail + self.failed + self.queued


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts `mx2` before `mx10`."""
    return [(0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in _DIGITS.split(name.lower()) if piece]


def ready_parts(service: str) -> tuple[str, str, str, str] | None:
    """Queue, source, site and protocol of `smtp_client:source->site@smtp_client`; None: no ready queue."""
    protocol, _, name = service.partition(":")
    source, arrow, rest = name.partition("->")
    if not arrow:
        return None
    site, at, after = rest.rpartition("@")
    return name, source, site if at else rest, after if at else protocol


def ready_rows(metrics: Metrics, suspensions: Iterable[Order], states: Mapping[str, Mapping[str, Order]]) -> list[ReadyRow]:
    """Every ready queue that the metrics know."""
    families = [
        metrics.by(name, "service")
        for name in ("total_messages_delivered", "total_messages_transfail", "connection_count", "ready_count")
    ]
    reasons = {order["name"]: order["reason"] for order in suspensions}
    rows = []
    for service in sorted(set().union(*families)):
        parts = ready_parts(service)
        if parts is None:
            continue
        name, source, site, protocol = parts
        marks = [f"{STOP} suspend: {reasons[name]}"] if name in reasons else []
        marks += [f"{state}: {facts['context']} @ {facts['since']}" for state, facts in sorted(states.get(name, {}).items())]
        delivered, transfail, connections, queued = (int(family.get(service, 0)) for family in families)
        rows.append(ReadyRow(name=name, source=source, site=site, protocol=protocol, delivered=delivered, transfail=transfail,
                             connections=connections, queued=queued, status=", ".join(marks)))  # fmt: skip
    return rows


def scheduled_rows(metrics: Metrics, suspensions: Sequence[Order], bounces: Sequence[Order]) -> list[ScheduledRow]:
    """Every scheduled queue that has mail."""
    orders = [(f"{BIN} bounce", bounces), (f"{STOP} suspend", suspensions)]
    rows = []
    for name, count in sorted(metrics.by("scheduled_count", "queue").items()):
        marks = [f"{mark}: {order['reason']}" for mark, those in orders for order in those if _about(order).fits(name)]
        rows.append(ScheduledRow(name, int(count), ", ".join(marks)))
    return rows


def _about(order: Order) -> Chosen:
    return Chosen({part: order[part] for part in PARTS if order.get(part) is not None}, tuple(order.get("queue_names") or ()))


def sorted_ready(rows: Iterable[ReadyRow], *, by_volume: bool, limit: int | None) -> list[ReadyRow]:
    ordered = sorted(rows, key=lambda row: (natural(row.site), natural(row.source), row.protocol))
    if by_volume:
        ordered.sort(key=lambda row: (row.queued, row.delivered + row.transfail, row.connections), reverse=True)
    return ordered[:limit]


def sorted_scheduled(rows: Iterable[ScheduledRow], *, by_volume: bool, limit: int | None) -> list[ScheduledRow]:
    ordered = sorted(rows, key=lambda row: natural(row.name))
    if by_volume:
        ordered.sort(key=lambda row: row.count, reverse=True)
    return ordered[:limit]


def ready_lines(rows: Sequence[ReadyRow], width: int | None) -> list[str]:
    cells = [
        (row.site, row.source, row.protocol, *_numbers(row.delivered, row.transfail, row.connections, row.queued), row.status)
        for row in rows
    ]
    return columns(("SITE", "SOURCE", "PROTO", "D", "T", "C", "Q", ""), cells, right={3, 4, 5, 6}, width=width)


def scheduled_lines(rows: Sequence[ScheduledRow], width: int | None) -> list[str]:
    return columns(
        ("SCHEDULED QUEUE", "COUNT", ""), [(row.name, f"{row.count:,}", row.status) for row in rows], right={1}, width=width
    )


def _numbers(*numbers: int) -> list[str]:
    return [f"{number:,}" for number in numbers]


_BY_PROVIDER = {
    "delivered": "total_messages_delivered_by_provider",
    "transfail": "total_messages_transfail_by_provider",
    "failed": "total_messages_fail_by_provider",
    "connections": "connection_count_by_provider",
    "queued": "queued_count_by_provider",
}


def provider_rows(metrics: Metrics, *, by_pool: bool) -> list[ProviderRow]:
    """Every provider, or every provider and pool; the busiest first."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for field, family in _BY_PROVIDER.items():
        for key, number in _of_providers(metrics, family, by_pool):
            counts = found.setdefault(key, {})
            counts[field] = counts.get(field, 0) + int(number)
    rows = [ProviderRow(provider=provider, pool=pool, **counts) for (provider, pool), counts in found.items()]
    return sorted(rows, key=lambda row: (-row.volume, natural(row.provider), natural(row.pool)))


def _of_providers(metrics: Metrics, family: str, by_pool: bool) -> Iterable[tuple[tuple[str, str], float]]:
    if not by_pool:
        return (((provider, ""), number) for provider, number in metrics.by(family, "provider").items())
    family += "_and_source" if family.startswith("total_messages") else "_and_pool"
    return (((labels.get("provider", ""), labels.get("pool", "")), number) for labels, number in metrics.rows(family))


def provider_lines(
    rows: Sequence[ProviderRow], width: int | None, *, by_pool: bool, domains: Mapping[str, Collection[str]] | None = None
) -> list[str]:
    """domains: those of each provider that have mail; None: without that column."""
    headings = ["PROVIDER", *(["POOL"] if by_pool else []), "D", "T", "F", "C", "Q", *(["DOMAINS"] if domains is not None else [])]
    first = 2 if by_pool else 1
    cells = [
        [
            row.provider,
            *([row.pool] if by_pool else []),
            *_numbers(row.delivered, row.transfail, row.failed, row.connections, row.queued),
            *([", ".join(sorted(domains.get(row.provider, ()), key=natural))] if domains is not None else []),
        ]
        for row in rows
    ]
    return columns(headings, cells, right=range(first, first + 5), width=width)
