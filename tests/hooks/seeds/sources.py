"""Sources and pools: made from tables, the pools once every five minutes."""

from kumotwist import kumo

# Maps a source name to the corresponding IP address
SOURCE_TO_IP = {
    "ip-1": "10.0.0.1",
    "ip-2": "10.0.0.2",
    "ip-3": "2001:db8:3333:4444:5555:6666:7777:8888",
}


@kumo.memoize(name="setup-my-pools", ttl="5 minutes", capacity=10)
def pools() -> dict[str, kumo.EgressPool]:
    made = [
        kumo.make_egress_pool(name="BestReputation", entries=[{"name": "ip-1"}]),
        kumo.make_egress_pool(
            name="MediumReputation",
            entries=[
                {"name": "ip-2", "weight": 2},
                # we're warming up ip-3, so use it less frequently than ip-2
                {"name": "ip-3", "weight": 1},
            ],
        ),
    ]
    return {pool.name: pool for pool in made}


@kumo.on("get_egress_source")
def source(source_name: str) -> kumo.EgressSource:
    return kumo.make_egress_source(
        name=source_name,
        source_address=SOURCE_TO_IP[source_name],
        ehlo_domain=f"{source_name}.examplecorp.com",
    )


@kumo.on("get_egress_pool")
def pool(pool_name: str) -> kumo.EgressPool | None:
    return pools().get(pool_name)
