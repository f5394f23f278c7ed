"""
Parameters that the model or our own design has and this version does not yet: refused by name rather than as unknown.

Silently ignoring one of them would send mail otherwise than its author meant.  A line goes when its parameter works; where
the parameter stands in a Struct already, that is all there is to do.
"""

from collections.abc import Mapping
from typing import Any

from kumotwist.config.dkim import DkimBase
from kumotwist.config.server import Config, LogSettings, SpoolSettings


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


AWAITED: Mapping[Any, frozenset[str]] = {
    Config: _names("""
        redis
        workers
    """),
    LogSettings: _names("filter_event"),
    DkimBase: _names("vault_mount vault_path_prefix"),
    SpoolSettings: frozenset({"rocks_params"}),
    # what is no parameter of one Struct
    "key source": _names("""
        vault_address
        vault_key
        vault_mount
        vault_path
        vault_token
    """),
}
