"""`kumotwist suppress`, `suppress-list`, `suppress-cancel`: who gets no more mail."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from kumotwist.cli.api import Api
from kumotwist.cli.asking import as_json, asks, duration_text
from kumotwist.cli.columns import columns
from kumotwist.cli.options import Kind
from kumotwist.cli.orders import listed, rough
from kumotwist.cli.terminal import answered, say, width

PATH = "/api/admin/suppression/v1"
_USUALLY_LISTED = 1000

_tenant = click.option("--tenant", metavar="NAME", help="For this tenant's mail only; else for everybody's.")


def suppression_lines(entries: Sequence[Mapping[str, Any]], width: int | None) -> list[str]:
    rows = [
        (
            one["id"],
            one.get("recipient") or one.get("domain") or "",
            "everybody" if one.get("tenant") is None else one["tenant"] or "(none)",
            rough(one.get("duration") or "for good"),
            one["reason"],
        )
        for one in entries
    ]
    return columns(("ID", "RECIPIENT OR DOMAIN", "TENANT", "REMAIN", "REASON"), rows, keep={0}, width=width)


@click.command("suppress")
@click.option("--recipient", "recipients", metavar="ADDRESS", multiple=True, help="This address; repeatable.")
@click.option("--domain", "domains", metavar="NAME", multiple=True, help="All addresses of this domain; repeatable.")
@_tenant
@click.option("--reason", metavar="TEXT", required=True, help="Why; the list shows it.")
@click.option("--duration", metavar="TIME", type=Kind("duration", duration_text), help="How long, such as 90 days; else for good.")
@click.option("--expires", metavar="WHEN", help="Until when, such as 2026-12-31T00:00:00Z.")
@as_json
@asks
def suppress(
    api: Api, recipients: tuple[str, ...], domains: tuple[str, ...], reason: str, as_json: bool, **others: str | None
) -> None:
    """Send nothing more to an address, or to a domain.  Prints what was entered."""
    if not recipients and not domains:
        raise click.UsageError("whom?  Say --recipient ADDRESS or --domain NAME")
    asked = {"recipients": recipients, "domains": domains, "reason": reason, **others}
    _show(api.post(PATH, {name: value for name, value in asked.items() if value is not None}), as_json)


@click.command("suppress-list")
@click.option("--recipient", metavar="ADDRESS", help="Entries that hold for this address.")
@click.option("--domain", metavar="NAME", help="Entries about this domain.")
@_tenant
@click.option("--everybody", is_flag=True, help="Only entries for everybody's mail.")
@click.option("--limit", metavar="N", type=click.IntRange(1, 10_000), default=_USUALLY_LISTED, help="At most so many (1000).")
@click.option("--after", metavar="ID", help="Those behind this entry, to go through a long list.")
@as_json
@asks
def suppress_list(api: Api, limit: int, everybody: bool, as_json: bool, **others: str | None) -> None:
    """List who gets no mail."""
    query = {name: value for name, value in others.items() if value is not None}
    query["limit"] = str(limit)
    if everybody:
        query["everybody"] = "true"
    _show(api.get(PATH, query), as_json)


@click.command("suppress-cancel")
@click.option("--id", "id", metavar="ID", help="Which entry, as the list shows it.")
@click.option("--recipient", metavar="ADDRESS", help="The entry about this address.")
@click.option("--domain", metavar="NAME", help="The entry about this domain.")
@_tenant
@as_json
@asks
def suppress_cancel(api: Api, as_json: bool, tenant: str | None, **named: str | None) -> None:
    """Let mail go to an address or a domain again.  Prints the entry that was ended."""
    given = {name: value for name, value in named.items() if value is not None}
    if len(given) != 1:
        raise click.UsageError("which entry?  Say one of --id, --recipient and --domain")
    _show(api.delete(PATH, given if tenant is None else {**given, "tenant": tenant}), as_json)


def _show(answer: bytes, as_json: bool) -> None:
    answered(answer) if as_json else say(suppression_lines(listed(answer), width()))
