"""What a policy looks for and does not find: names that the model has and this version does not, and names that nobody has."""

from collections.abc import Collection

from kumotwist.config.fields import nearest, shown


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Of the model's names those that a ported policy may use.  A name goes from here when it comes.
_AWAITED = {
    "kumo": _names("""
        aaa amqp api configure_redis_throttles domain_map http kafka mimepart
        nats redis secrets shaping start_proxy_listener xfer
    """),
    "kumo.dkim": frozenset(),
    "kumo.dmarc": frozenset(),
    "kumo.mail_auth": frozenset(),
    "kumo.spf": frozenset(),
    "kumo.suppression": frozenset(),
    "kumo.dns": _names("configure_resolver define_resolver lookup_addr lookup_ptr lookup_txt ptr_host rbl_lookup reverse_ip"),
    "message": _names("""
        save shrink
        shrink_data set_force_sync
    """),
}
# What Lua lacks and the model therefore brings.
_PYTHONS = {
    "crypto": "the package cryptography",
    "digest": "hashlib",
    "encode": "base64",
    "fs": "pathlib",
    "log_debug": "twisted.logger",
    "log_error": "twisted.logger",
    "log_info": "twisted.logger",
    "log_warn": "twisted.logger",
    "regex": "re",
    "sqlite": "sqlite3",
    "string": "str",
    "time": "datetime",
    "uuid": "uuid",
}


def missing(where: str, name: str, known: Collection[str]) -> AttributeError:
    """The error for a name that is not there.  where: `kumo`, `kumo.dns` or `message`; known: the names that are."""
    if name in _AWAITED[where]:
        return AttributeError(f"{where}.{name} is not implemented yet", name=name)
    if where == "kumo" and name in _PYTHONS:
        return AttributeError(f"kumo has no {shown(name)}: Python has it, as {_PYTHONS[name]}", name=name)
    meant = "" if name.startswith("_") else nearest(name, known)
    hint = f", did you mean {shown(meant)}?" if meant else ""
    return AttributeError(f"{where} has no {shown(name)}{hint}", name=name)
