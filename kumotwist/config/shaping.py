"""Section `shaping`: how receiving sites are treated, by domain, by provider and by source."""

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct

from kumotwist.config.egress import Trigger
from kumotwist.config.fields import KeyAbove, Limit, Rate

# Parameters of a path that are mappings themselves: of two that are laid over one another each name counts.
JOINED = ("additional_connection_limits", "additional_message_rate_throttles", "additional_source_selection_rates")


class AutomationAction(Enum):
    """What happens when a response fits a rule."""

    SUSPEND = "Suspend"
    SUSPEND_TENANT = "SuspendTenant"
    SUSPEND_CAMPAIGN = "SuspendCampaign"
    BOUNCE = "Bounce"
    BOUNCE_TENANT = "BounceTenant"
    BOUNCE_CAMPAIGN = "BounceCampaign"
    SET_CONFIG = "SetConfig"
    SET_DOMAIN_CONFIG = "SetDomainConfig"


class Action(Struct, frozen=True, kw_only=True):
    """One action of a rule.  name, value: the parameter of an egress path that SetConfig and SetDomainConfig set."""

    kind: AutomationAction
    name: str = ""
    value: object = None


class AutomationRule(Struct, frozen=True, kw_only=True):
    """
    What a site's responses lead to.  regex: patterns of `re`, searched in a response as one line; any may fit.

    trigger: how often it must fit.  duration: seconds from the response on.  match_internal: our own responses count too.
    """

    regex: tuple[str, ...]
    action: tuple[Action, ...]
    duration: float
    trigger: Trigger = None
    match_internal: bool = False


class ShapingRule(Struct, frozen=True, kw_only=True):
    """
    One block of `shaping.rules`: what it sets, and for which sources it sets more.

    options: only the parameters that the block names.  mx_rollup: holds for the whole site that the domain's MX name.
    replace_base: forgets what `default` and the providers said.  sources: source name → its parameters.
    """

    options: Mapping[str, object] = {}
    sources: Mapping[str, Mapping[str, object]] = {}
    mx_rollup: bool = True
    replace_base: bool = False
    automation: tuple[AutomationRule, ...] = ()


class Matcher(Enum):
    """What a provider is known by."""

    DOMAIN_SUFFIX = "DomainSuffix"  # the end of the domain that mail is sent to
    MX_SUFFIX = "MXSuffix"  # the end of a mail exchanger's name
    HOST_NAME = "HostName"  # a mail exchanger's name


class ProviderMatch(Struct, frozen=True):
    """One entry of a provider's `match`.  text: in lower case, without a dot at its end."""

    by: Matcher
    text: str


class Provider(Struct, frozen=True, kw_only=True):
    """
    `provider.NAME`: what holds for all sites of one provider.

    options, sources: as in a rule; they hold for each site by itself.  connection_limit, max_message_rate: what a source
    may do to all of its sites together; source_selection_rates: by source, how often that may be chosen for them.
    """

    name: KeyAbove
    match: tuple[ProviderMatch, ...] = ()
    options: Mapping[str, object] = {}
    sources: Mapping[str, Mapping[str, object]] = {}
    connection_limit: Limit | None = None
    max_message_rate: Rate | None = None
    source_selection_rates: Mapping[str, Rate] = {}
    automation: tuple[AutomationRule, ...] = ()


# Where something stands: `rule` or `provider`, its name, the source (empty: all), the parameter.  A rule of automation has
# `automation` for a source and its number, counted from 0, for a parameter.
Spot = tuple[str, str, str, str]


class ShapingSettings(Struct, frozen=True, kw_only=True):
    """
    Section `shaping`: `default` and domain → rule, and the providers; both in the order in which they were first read.

    automation: rules of automation act.  publish, subscribe: URLs of shared daemons.  places: `file:line` of what was read.
    """

    rules: Mapping[str, ShapingRule] = {}
    provider: Mapping[str, Provider] = {}
    automation: bool = True
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    places: Mapping[Spot, str] = {}
