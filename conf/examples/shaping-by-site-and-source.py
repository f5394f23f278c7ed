"""How receivers are treated: by site (all domains with the same MX), by domain, and by the source that sends."""

from typing import Any

from kumotwist import kumo

# By site or domain; sites are looked for first.  Sites are entered by `look_up_sites`.
SHAPE_BY_DOMAIN: dict[str, dict[str, Any]] = {
    "small.example": {"max_connection_rate": "10/hr"},
}

# By (site or domain, source), on top of the above.
SHAPE_BY_SOURCE: dict[tuple[str, str], dict[str, Any]] = {}


@kumo.on("init")
async def look_up_sites() -> None:
    """Only big domains with many aliases need this; none of the aliases must be listed."""
    site_of = {}
    for domain in ("mailboxes.example",):
        site_of[domain] = (await kumo.dns.lookup_mx(domain)).site_name
    SHAPE_BY_DOMAIN[site_of["mailboxes.example"]] = {"max_connection_rate": "1000/hr"}
    SHAPE_BY_SOURCE[site_of["mailboxes.example"], "ip-1"] = {"max_message_rate": "1000/hr"}


@kumo.on("get_egress_path_config")
def egress_path(domain: str, egress_source: str, site_name: str) -> kumo.EgressPath:
    domain_params = SHAPE_BY_DOMAIN.get(site_name) or SHAPE_BY_DOMAIN.get(domain) or {}
    source_params = SHAPE_BY_SOURCE.get((site_name, egress_source)) or SHAPE_BY_SOURCE.get((domain, egress_source)) or {}
    params = domain_params | source_params
    return kumo.make_egress_path(params)
