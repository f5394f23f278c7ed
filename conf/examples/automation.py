"""What holds on paths as a policy says it; the rules of automation stay data, and lie over what is answered here."""

from kumotwist import kumo


@kumo.on("get_egress_path_config")
def egress_path(domain: str, egress_source: str, site_name: str) -> kumo.EgressPath:
    params = {"max_deliveries_per_connection": 100}
    return kumo.make_egress_path(params)
