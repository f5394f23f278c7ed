"""Section `suppression`: which failures and complaints put a recipient on the list of those who get no more mail."""

from enum import Enum
from typing import Annotated

from msgspec import Meta, Struct

from kumotwist.config.fields import Duration

# The types of records that say something of a recipient.
CausingRecord = Annotated[str, Meta(extra={"kind": "choice", "of": (
    "Bounce", "OOB", "Feedback", "Expiration", "TransientFailure",
)})]  # fmt: skip
ANY_CLASS = "Any"


class Scope(Enum):
    """For whose mail an entry holds."""

    TENANT = "tenant"  # for that of the tenant whose message it was
    GLOBAL = "global"


class What(Enum):
    """What an entry is about."""

    ADDRESS = "address"
    DOMAIN = "domain"  # all addresses of it


class SuppressionRule(Struct, frozen=True, kw_only=True):
    """
    A record that fits makes an entry for each of its recipients.

    classes: bounce classes, `Any` for all; a Feedback has none, and fits any rule that names its type.
    expires: how long the entry holds; None: until it is cancelled.
    unquoted: also heed reports that do not quote the header of a message of ours.
    """

    record_types: tuple[CausingRecord, ...]
    classes: tuple[str, ...] = ()
    scope: Scope = Scope.TENANT
    what: What = What.ADDRESS
    expires: Duration | None = None
    unquoted: bool = False


class SuppressionSettings(Struct, frozen=True, kw_only=True):
    """Section `suppression`.  Every rule is asked, and each that fits makes its entry."""

    rules: tuple[SuppressionRule, ...] = ()
