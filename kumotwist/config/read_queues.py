"""
Section `queues`, inline and in the layout of the model's queues.toml, and section `routing`.

Files merge in order, then what stands inline; of what is named twice the later wins, key by key down to the campaigns.
"""

from collections.abc import Collection, Iterator

from kumotwist.config.compose import queue_settings
from kumotwist.config.egress import EgressSettings
from kumotwist.config.fields import format_duration, nearest, shown
from kumotwist.config.kinds import kind_of
from kumotwist.config.placed import Entry, Items, Placed, Table, Text
from kumotwist.config.protocol import read_protocol
from kumotwist.config.queues import CampaignSettings, QueueRule, QueueSettings, QueuesSettings, TenantSettings
from kumotwist.config.read_listeners import read_domain_key
from kumotwist.config.reading import UNFIT, Reading, Setting, Settings, fields_of, values_of
from kumotwist.config.routing import RoutingMatch, RoutingRule

_LEVELS = ("queue", "tenant", "campaign")  # what a rule is for, by its depth below `queues.queue`
_SECTION_KEYS = ("files", "tenant", "queue")
TENANT_KEYS = ("domain_to_pool", "require_authz", "overall_max_message_rate", "campaigns")
_ONLY_TENANTS = ("overall_max_message_rate", "campaigns")  # the model ignores the first in a queue; the second would be a tenant
_TEXT = kind_of(str)


class _Rule:
    """A queue rule while it is read: what all files say of one domain, tenant or campaign."""

    __slots__ = ("below", "options")

    def __init__(self) -> None:
        self.options: Settings = {}  # with routing_domain
        self.below: dict[str, _Rule] = {}

    def rule(self) -> QueueRule:
        options = values_of(self.options)
        routing_domain = options.pop("routing_domain", None)
        return QueueRule(
            options=options,
            routing_domain=routing_domain,
            tenants={name: rule.rule() for name, rule in self.below.items()},
        )

    def all_options(self) -> Iterator[Settings]:
        """Its own options and those of its tenants and campaigns."""
        yield self.options
        for rule in self.below.values():
            yield from rule.all_options()


class _Tenant:
    """A tenant while it is read: what all files say of it.  own: what is not a parameter of its queues."""

    __slots__ = ("campaigns", "options", "own", "senders")

    def __init__(self) -> None:
        self.options: Settings = {}
        self.own: Settings = {}
        self.senders: Settings = {}  # by domain
        self.campaigns: dict[str, Settings] = {}

    def settings(self) -> TenantSettings:
        return TenantSettings(
            options=values_of(self.options),
            **values_of(self.own),
            domain_to_pool=values_of(self.senders),
            campaigns={name: CampaignSettings(**values_of(settings)) for name, settings in self.campaigns.items()},
        )


class QueuesReading:
    """The section `queues` while it is read."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._whole = True
        self._intervals_known = True  # none was faulty, so comparing them says something
        self._top: Settings = {}
        self._tenants: dict[str, _Tenant] = {}
        self._rules: dict[str, _Rule] = {}

    def read(self, given: Placed, egress: EgressSettings, *, pools_known: bool) -> QueuesSettings:
        """pools_known: every pool is in `egress`, so one that is missing there is a fault."""
        section = self._reading.table(given, "queues")
        for table in self._reading.included(section):
            if table is None:
                self._whole = False
            else:
                self._add(table, _SECTION_KEYS[1:])
        self._add(section, _SECTION_KEYS)
        if pools_known:
            self._check_pools(egress)
        if self._whole:
            self._check_tenants()
        queues = QueuesSettings(
            **values_of(self._top),
            tenant={name: tenant.settings() for name, tenant in self._tenants.items()},
            queue={domain: rule.rule() for domain, rule in self._rules.items()},
        )
        if self._intervals_known:
            self._check_retries(queues)
        return queues

    def _add(self, table: Table, leave: tuple[str, ...]) -> None:
        self._top.update(self._reading.settings(QueuesSettings, table, "queues", leave=leave))
        for name, _, tenant in self._reading.tables(table, "tenant"):
            self._add_tenant(tenant, self._tenants.setdefault(name, _Tenant()), f"tenant {shown(name)}")
        seen: dict[str, str] = {}
        for name, entry, rule in self._reading.tables(table, "queue"):
            domain = name if name == "default" else read_domain_key(self._reading, name, entry, seen)
            self._add_rule(rule, self._rules.setdefault(domain, _Rule()) if domain else _Rule(), name, 0)

    def _add_tenant(self, table: Table, tenant: _Tenant, where: str) -> None:
        """Queue options, and what only tenants have; all as in Reading.settings."""
        named = Table({key: entry for key, entry in table.entries.items() if key not in TENANT_KEYS}, table.place)
        tenant.options.update(self._options(named, where, ("protocol",), TENANT_KEYS) | self._protocol(named))
        own = Table({key: entry for key, entry in table.entries.items() if key in TENANT_KEYS}, table.place)
        tenant.own.update(self._reading.settings(TenantSettings, own, where, leave=("domain_to_pool", "campaigns")))
        self._add_senders(own, tenant)
        entry = self._reading.entry(own, "campaigns", TenantSettings)
        if entry is not None:
            for name, inner in self._reading.table(entry.value, "campaigns").entries.items():
                campaign = self._reading.table(inner.value, name)
                settings = self._reading.settings(CampaignSettings, campaign, f"{where}, campaign {shown(name)}")
                tenant.campaigns.setdefault(name, {}).update(settings)
        authz = own.entries.get("require_authz")
        if authz is not None and isinstance(authz.value, Items) and not authz.value.items:
            self._reading.note(authz.value, "require_authz", "nobody in it, expected an authorization id or more")

    def _add_senders(self, table: Table, tenant: _Tenant) -> None:
        """`domain_to_pool`: the pool by sender's domain."""
        entry = self._reading.entry(table, "domain_to_pool", TenantSettings)
        if entry is None or _is_null(entry.value):
            return
        senders = self._reading.table(entry.value, "domain_to_pool")
        if not senders.entries and isinstance(entry.value, Table):
            self._reading.note(senders, "domain_to_pool", "an empty mapping, expected a pool for each domain that sends")
        assert _TEXT is not None
        seen: dict[str, str] = {}
        for name, inner in senders.entries.items():
            domain = read_domain_key(self._reading, name, inner, seen)
            pool = self._reading.scalar(_TEXT, inner.value, f"domain_to_pool: {name}")
            if domain and pool is not UNFIT:
                tenant.senders[domain] = Setting(pool, inner.value.place)

    def _options(self, table: Table, where: str, leave: tuple[str, ...], also: Collection[str] = ()) -> Settings:
        """Parameters of a queue.  also: what else is known there, for suggestions."""
        settings = self._reading.settings(QueueSettings, table, where, leave=(*leave, *also))
        if any(key in table.entries and key not in settings for key in ("retry_interval", "max_retry_interval")):
            self._intervals_known = False
        return settings

    def _protocol(self, table: Table) -> Settings:
        entry = table.entries.get("protocol")
        if entry is None:
            return {}
        found = read_protocol(self._reading, entry.value)
        return {name: Setting(value, entry.value.place) for name, value in found.items()}

    def _add_rule(self, table: Table, rule: _Rule, name: str, level: int) -> None:
        """Options, and below them the tables of tenants and of their campaigns."""
        options = {}
        for key, entry in table.entries.items():
            if key in _ONLY_TENANTS:
                self._reading.faults.note(entry.place, f"{key} means nothing in a queue, expected it in queues.tenant")
            elif self._is_below(entry, key, level):
                if name == "default":
                    self._reading.faults.note(
                        entry.place, f"tenant {shown(key)} in the default queue is never consulted, expected it in queues.tenant"
                    )
                assert isinstance(entry.value, Table)
                self._add_rule(entry.value, rule.below.setdefault(key, _Rule()), key, level + 1)
            else:
                options[key] = entry
        named = Table(options, table.place)
        leave = ("protocol", "routing_domain")
        rule.options.update(self._options(named, f"{_LEVELS[level]} {shown(name)}", leave))
        rule.options.update(self._protocol(named) | self._routing_domain(named))

    def _is_below(self, entry: Entry, key: str, level: int) -> bool:
        """Any mapping that is no option is a tenant, below that a campaign; a scalar that is none is a mistyped option."""
        return isinstance(entry.value, Table) and level < 2 and key not in fields_of(QueueSettings)

    def _routing_domain(self, table: Table) -> Settings:
        entry = table.entries.get("routing_domain")
        if entry is None:
            return {}
        field = fields_of(QueueRule)["routing_domain"]
        if isinstance(entry.value, Text) and entry.value.is_null:
            return {"routing_domain": Setting(None, entry.value.place)}
        assert field.kind is not None
        value = self._reading.scalar(field.kind, entry.value, "routing_domain")
        return {} if value is UNFIT else {"routing_domain": Setting(value, entry.value.place)}

    # --- what must fit together ------------------------------------------------------------------------------------

    def _all_options(self) -> Iterator[Settings]:
        for tenant in self._tenants.values():
            yield tenant.options
        for rule in self._rules.values():
            yield from rule.all_options()

    def _check_pools(self, egress: EgressSettings) -> None:
        for options in self._all_options():
            self._check_pool(options.get("egress_pool"), "egress_pool", egress)
        for tenant in self._tenants.values():
            for domain, pool in tenant.senders.items():
                self._check_pool(pool, f"domain_to_pool: {domain}", egress)

    def _check_pool(self, setting: Setting | None, name: str, egress: EgressSettings) -> None:
        if setting and setting.value is not None and setting.value not in egress.pool:
            hint = _hint(setting.value, egress.pool, "the name of a pool in egress.pool")
            what = f"{name}: {shown(setting.value)} is no pool, {hint}"
            self._reading.faults.note(setting.place, what, unless="get_egress_pool")

    def _check_tenants(self) -> None:
        default = self._top.get("default_tenant")
        values = values_of(self._top)
        name = values.get("default_tenant")
        listed = name is None or name in self._tenants or not self._tenants or values.get("unknown_tenant_accepted")
        if default and not listed:
            hint = _hint(default.value, self._tenants, "one of queues.tenant")
            self._reading.faults.note(default.place, f"default_tenant: {shown(default.value)} is not a listed tenant, {hint}")
        if values.get("require_tenant") and not values.get("tenant_header") and not values.get("default_tenant"):
            place = self._top["require_tenant"].place
            self._reading.faults.note(place, "require_tenant: no message could have a tenant, expected a tenant_header too")

    def _check_retries(self, queues: QueuesSettings) -> None:
        """max_retry_interval below retry_interval, where one block says so or the block and the default together."""
        for name, listed in self._tenants.items():
            self._check_interval(listed.options, queue_settings(queues, "default", name, None))
        for domain, rule in self._rules.items():
            self._check_interval(rule.options, queue_settings(queues, domain, None, None))
            for tenant, below in rule.below.items():
                self._check_interval(below.options, queue_settings(queues, domain, tenant, None))
                for campaign, last in below.below.items():
                    self._check_interval(last.options, queue_settings(queues, domain, tenant, campaign))

    def _check_interval(self, options: Settings, composed: QueueSettings) -> None:
        most = composed.max_retry_interval
        setting = options.get("max_retry_interval") or options.get("retry_interval")
        if setting and most is not None and most < composed.retry_interval:
            self._reading.faults.note(
                setting.place,
                f"max_retry_interval {format_duration(most)} is shorter than retry_interval "
                f"{format_duration(composed.retry_interval)}, expected it as long or longer",
            )


def _is_null(given: Placed) -> bool:
    return isinstance(given, Text) and given.is_null


def _hint(name: str, names: Collection[str], expected: str) -> str:
    meant = nearest(name, names)
    return f"did you mean {shown(meant)}?" if meant else f"expected {expected}"


# --- routing ---------------------------------------------------------------------------------------------------------

_ROUTED_TO = fields_of(QueueRule)["routing_domain"].kind
assert _ROUTED_TO is not None
assert _TEXT is not None
_SET = {"routing_domain": _ROUTED_TO, "queue": _TEXT, "tenant": _TEXT, "campaign": _TEXT}


def read_routing(reading: Reading, given: Placed) -> tuple[RoutingRule, ...]:
    rules = []
    for item in reading.items(given, "routing"):
        table = reading.table(item, "routing")
        if isinstance(item, Table):
            rules.append(_routing_rule(reading, table))
    return tuple(rules)


def _routing_rule(reading: Reading, table: Table) -> RoutingRule:
    match, sets = RoutingMatch(), {}
    for key, entry in table.entries.items():
        if key == "match":
            match = reading.struct(RoutingMatch, entry.value, "match")
        elif key == "set":
            sets = _sets(reading, reading.table(entry.value, "set"))
        else:
            reading.unknown(key, entry, "routing", ("match", "set"))
    if "set" not in table.entries:
        reading.faults.note(table.place, "set is missing, expected what the rule sets; {} for nothing")
    return RoutingRule(match=match, set=sets)


def _sets(reading: Reading, table: Table) -> dict[str, object]:
    """The metadata that a rule sets: names of queues are texts, anything else is as JSON has it."""
    sets: dict[str, object] = {}
    for key, entry in table.entries.items():
        if isinstance(entry.value, Text) and entry.value.is_null:
            hint = ', did you mean "null" in quotes?' if key == "queue" else ""
            reading.note(entry.value, key, f"nothing, expected a value{hint}")
            continue
        kind = _SET.get(key)
        value = reading.scalar(kind, entry.value, key) if kind else reading.free(entry.value, key)
        if value is not UNFIT:
            sets[key] = value
    return sets
