"""Section `queues`: tenants, campaigns and the retry schedule of scheduled queues, in the model's helper layout."""

from collections.abc import Mapping
from enum import Enum
from typing import Annotated

from msgspec import Meta, Struct

from kumotwist.config.fields import Duration, HeaderName, Positive, Rate, RoutedTo
from kumotwist.config.path_template import PathTemplate


class MxHost(Struct, frozen=True, kw_only=True):
    """
    One entry of `protocol.smtp.mx_list`: a host to deliver to instead of the domain's MX.

    name: host name (its A and AAAA are looked up) or, with addr, only what it is called.
    addr: IP address already known.  port: None leaves it to the path.  label: how the entry stands in the site's name.
    secure: to be taken for named by a signed MX (`treat_mx_list_as_secure`), which matters to DANE.
    """

    name: str
    label: str
    addr: str | None = None
    port: int | None = None
    secure: bool = False


class RefreshStrategy(Enum):
    """When the model asks anew what holds for a queue or a path."""

    TTL = "Ttl"
    EPOCH = "Epoch"


class Shrinking(Enum):
    """What of a message leaves memory for the spool while it waits."""

    SHRINK_DATA_AND_META = "ShrinkDataAndMeta"
    SHRINK_DATA = "ShrinkData"
    NO_SHRINK = "NoShrink"


class QueueStrategy(Enum):
    """How the model keeps a scheduled queue in the order of time."""

    SINGLETON_TIMER_WHEEL = "SingletonTimerWheel"
    SINGLETON_TIMER_WHEEL_V2 = "SingletonTimerWheelV2"
    TIMER_WHEEL = "TimerWheel"
    SKIP_LIST = "SkipList"


class ShrinkRule(Struct, frozen=True, kw_only=True):
    """What leaves memory where a message waits for `interval` at least."""

    interval: Duration
    policy: Shrinking


class MaildirDelivery(Struct, frozen=True, kw_only=True):
    """`protocol: {maildir: ...}`: mail ends in directories here.  Modes: None leaves them to the umask."""

    maildir_path: PathTemplate
    dir_mode: int | None = None
    file_mode: int | None = None


class PolicyDelivery(Struct, frozen=True, kw_only=True):
    """
    `protocol: {custom_lua: ...}`: an object that the policy makes does what a session does elsewhere.

    constructor: the event that makes it.  batch_size: messages that it is given at once, at most.  min_batch_size: so many
    are waited for, at most `max_batch_latency` seconds.
    """

    constructor: str = ""  # never empty once it has been read
    batch_size: Positive = 1
    min_batch_size: Positive = 1
    max_batch_latency: Duration = 0.0


class XferDelivery(Struct, frozen=True, kw_only=True):
    """`protocol: {xfer: ...}`: mail goes to another node of ours, at this URL; its API takes it."""

    target: str


RetryInterval = Annotated[float, Meta(description="duration", ge=1.0, extra={"kind": "duration"})]
MxList = Annotated[tuple[MxHost, ...], Meta(extra={"key": "protocol"})]
InsteadOfSmtp = Annotated[MaildirDelivery | PolicyDelivery | XferDelivery | None, Meta(extra={"key": "protocol"})]
UnknownTenant = Annotated[bool, Meta(extra={"kind": "unknown_tenant", "key": "unknown_tenant"})]


class QueueSettings(Struct, frozen=True, kw_only=True):
    """What holds for one scheduled queue; names, units and defaults are the model's `make_queue_config`."""

    retry_interval: RetryInterval = 20 * 60.0
    max_retry_interval: RetryInterval | None = None
    max_age: Duration = 7 * 86400.0
    egress_pool: str | None = None
    max_message_rate: Rate | None = None
    mx_list: MxList = ()  # from protocol: {smtp: {mx_list: [...]}}; empty: the domain's MX
    instead_of_smtp: InsteadOfSmtp = None  # from protocol, too
    reap_interval: Duration = 600.0
    provider_name: str | None = None
    refresh_interval: Duration = 60.0
    refresh_strategy: RefreshStrategy = RefreshStrategy.TTL
    strategy: QueueStrategy = QueueStrategy.SINGLETON_TIMER_WHEEL
    timerwheel_tick_interval: Duration | None = None
    shrink_policy: tuple[ShrinkRule, ...] = ()


class CampaignSettings(Struct, frozen=True, kw_only=True):
    """`tenant.T.campaigns.C`.  overall_max_message_rate: over all queues of the tenant and the campaign together."""

    overall_max_message_rate: Rate | None = None


class TenantSettings(Struct, frozen=True, kw_only=True):
    """
    One tenant.  options: queue parameters that hold for its mail (only those that were named).

    domain_to_pool: sender's domain or `*.domain` → pool; where it says anything, mail of any other sender is refused.
    require_authz: as whom one must have logged in to send for it; empty: it needs no login.
    overall_max_message_rate: over all of its queues together.
    """

    options: Mapping[str, object] = {}
    domain_to_pool: Mapping[str, str] = {}
    require_authz: tuple[str, ...] = ()
    overall_max_message_rate: Rate | None = None
    campaigns: Mapping[str, CampaignSettings] = {}


class QueueRule(Struct, frozen=True, kw_only=True):
    """`queue.DOMAIN`: its options, and those of its tenants and of their campaigns (each only what was named)."""

    options: Mapping[str, object] = {}
    routing_domain: RoutedTo | None = None
    tenants: Mapping[str, "QueueRule"] = {}  # below a domain: tenants; below a tenant: campaigns


class QueuesSettings(Struct, frozen=True, kw_only=True):
    """Section `queues`."""

    scheduling_header: HeaderName | None = None
    tenant_header: HeaderName | None = None
    remove_tenant_header: bool = False
    campaign_header: HeaderName | None = None
    remove_campaign_header: bool = False
    default_tenant: str | None = None
    require_tenant: bool = False
    unknown_tenant_accepted: UnknownTenant = False  # `unknown_tenant: accept`; matters only where tenants are listed
    tenant: Mapping[str, TenantSettings] = {}
    queue: Mapping[str, QueueRule] = {}  # domain, `*.domain` or `default`
