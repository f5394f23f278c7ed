"""
DMARC: whether the domain that a reader sees stands behind a message, and what it wants done with those it does not.

RFC 7489.  No record is `none` here; the model makes it a permerror.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache

from msgspec import Struct
from publicsuffixlist import PublicSuffixList

from kumotwist.authentication.lookups import Lookups, Unanswered
from kumotwist.authentication.results import AuthenticationResult
from kumotwist.authentication.tags import BadTags, parse_tags

_POLICIES = {"none": "None", "quarantine": "Quarantine", "reject": "Reject"}


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def organizational(domain: str) -> str:
    """The domain that somebody registered: the one label below a public suffix (RFC 7489 section 3.2)."""
    name = domain.lower().rstrip(".")
    return _suffixes().privatesuffix(name) or name


class DmarcRecord(Struct, frozen=True, kw_only=True):
    """A domain's policy.  policy, subdomains: `none`, `quarantine` or `reject`.  percent: share of mail that it holds for."""

    policy: str
    subdomains: str
    strict_dkim: bool = False
    strict_spf: bool = False
    percent: int = 100
    tags: Mapping[str, str] = {}


def is_record(text: str) -> bool:
    """Whether a TXT record is one of DMARC: it begins so, in this case (section 6.4)."""
    first, _, _ = text.partition(";")
    return first.replace(" ", "").replace("\t", "") == "v=DMARC1"


def parse_record(text: str) -> DmarcRecord:
    """Section 6.3.  Raises BadTags."""
    tags = parse_tags(text)
    policy = tags.get("p", "").lower()
    if policy not in _POLICIES:
        if "rua" not in tags:
            raise BadTags("p= is missing or not known")
        policy = "none"  # section 6.6.3: whoever wants reports and mistypes p= gets them
    subdomains = tags.get("sp", policy).lower()
    percent = tags.get("pct", "100")
    return DmarcRecord(
        policy=policy,
        subdomains=subdomains if subdomains in _POLICIES else policy,
        strict_dkim=tags.get("adkim", "r").lower() == "s",
        strict_spf=tags.get("aspf", "r").lower() == "s",
        percent=int(percent) if percent.isascii() and percent.isdigit() and int(percent) <= 100 else 100,
        tags=tags,
    )


async def find_record(lookups: Lookups, domain: str) -> tuple[str, DmarcRecord] | None:
    """Where the policy for a domain stands, and the policy: its own, else that of its organization.  Raises Unanswered, BadTags."""
    for name in dict.fromkeys((domain.lower().rstrip("."), organizational(domain))):
        texts = [text for text in await lookups.texts(f"_dmarc.{name}") if is_record(text)]
        if len(texts) == 1:
            return name, parse_record(texts[0])
    return None


def aligned(one: str, other: str, *, strict: bool) -> bool:
    """Whether two domains are the same, or of the same organization (section 3.1)."""
    one, other = one.lower().rstrip("."), other.lower().rstrip(".")
    return one == other or (not strict and bool(one) and organizational(one) == organizational(other))


class DmarcResult(Struct, frozen=True, kw_only=True):
    """disposition: `Pass`, `None`, `Quarantine`, `Reject`, `TempError`, `PermError`: what the domain wants done."""

    disposition: str
    result: AuthenticationResult


def _told(disposition: str, result: str, reason: str | None, props: Mapping[str, str]) -> DmarcResult:
    told = AuthenticationResult(method="dmarc", result=result, reason=reason, props=props)
    return DmarcResult(disposition=disposition, result=told)


async def evaluate(
    lookups: Lookups,
    author: str,
    *,
    dkim: Iterable[AuthenticationResult],
    spf: str,
    spf_domain: str,
    draw: Callable[[], float],
) -> DmarcResult:
    """
    author: the domain of From.  spf: what SPF found for `spf_domain`.  draw: from 0 to 1, for `pct`.

    A result of DKIM counts by its `header.d`.
    """
    props = {"header.from": author}
    try:
        found = await find_record(lookups, author)
    except Unanswered as fault:
        return _told("TempError", "temperror", f"no answer: {fault}", props)
    except BadTags as fault:
        return _told("PermError", "permerror", f"the record: {fault}", props)
    if found is None:
        return _told("None", "none", f"{author} has no DMARC record", props)
    where, record = found
    props |= {f"policy.{tag}": value for tag, value in record.tags.items() if tag != "v"}
    signed = any(one.result == "pass" and aligned(one.props.get("header.d", ""), author, strict=record.strict_dkim) for one in dkim)
    if signed or (spf == "pass" and aligned(spf_domain, author, strict=record.strict_spf)):
        return _told("Pass", "pass", None, props)
    policy = record.policy if where == author.lower().rstrip(".") else record.subdomains
    if policy == "none":
        return _told("None", "none", "nothing aligned", props)
    if record.percent < 100 and draw() * 100 >= record.percent:
        return _told("Pass", "pass", "not sampled", props)
    return _told(_POLICIES[policy], "fail", "nothing aligned", {**props, "policy.published-domain-policy": policy})
