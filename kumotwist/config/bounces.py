"""Section `bounce_classifier`: which class a refusal belongs to, by rules in files."""

from typing import Annotated

from msgspec import Meta, Struct

from kumotwist.config.fields import Positive

CacheSize = Annotated[int, Meta(ge=0, le=10_000_000, extra={"kind": "whole"})]

BUILTIN = "builtin:"  # leads the name of a rules file of our own in `files`


class BounceRule(Struct, frozen=True, gc=False):
    """One pattern, and the class of the responses that it is found in."""

    label: str
    pattern: str


class BounceClassifierSettings(Struct, frozen=True, kw_only=True):
    """
    Section `bounce_classifier`; names and defaults are the model's.

    rules: those of all files, in their order: the first that fits wins.  pool_size, back_pressure: the model's, which classifies
    in threads; here it takes microseconds where it is needed, so there is nothing for them to limit.
    """

    rules: Annotated[tuple[BounceRule, ...], Meta(extra={"key": ""})] = ()
    pool_size: Positive = 1
    back_pressure: Positive = 131_072
    cache_size: CacheSize = 1024  # classified responses that are remembered
    uncategorized_cache_size: CacheSize = 1024  # the same for those that no rule fits
