"""`kumo.generate_rfc3464_message`: the report that tells a sender what was not delivered."""

from collections.abc import Mapping
from typing import Any

from kumotwist.config.fields import nearest
from kumotwist.hooks.context import services
from kumotwist.hooks.injection import MadeMessage, make_message
from kumotwist.hooks.message import ContentAway, PolicyMessage, message_of
from kumotwist.reports.notice import Included, NoticeSettings, notice_of

_OF = "generate_rfc3464_message"
_SWITCHES = ("enable_expiration", "enable_bounce", "stable_content")
_KEYS = ("include_original_message", *_SWITCHES, "reporting_mta")


def generate_rfc3464_message(
    params: Mapping[str, Any], message: PolicyMessage | None, record: Mapping[str, Any]
) -> MadeMessage | None:
    """
    The report for a log record, to be given to `kumo.inject_message`; None where none is due.

    Only records of type Bounce (by SMTP, with `enable_bounce`) and Expiration (with `enable_expiration`) have one, and never those
    of the null sender.  message: the one that failed, or None; without its content nothing of it is quoted.  Raises ValueError.
    """
    settings = _settings(params)
    around = services(_OF)
    original = None
    if message is not None:
        try:
            original = message_of(message).content
        except ContentAway:  # only the spool has it; the record tells enough
            original = None
    notice = notice_of(record, settings, original, unique=around.message_id(), now=around.clock.seconds())
    return None if notice is None else make_message("", notice.recipient, notice.content)


def _settings(params: Mapping[str, Any]) -> NoticeSettings:
    if not isinstance(params, Mapping):
        raise TypeError(f"{_OF}: a {type(params).__name__}, expected a mapping of parameters")
    for key in params:
        if key not in _KEYS:
            meant = nearest(str(key), _KEYS)
            raise ValueError(f"{_OF}: unknown key {key!r}" + (f", did you mean {meant!r}?" if meant else ""))
    mta = params.get("reporting_mta")
    if not isinstance(mta, Mapping) or not all(isinstance(mta.get(key), str) and mta.get(key) for key in ("mta_type", "name")):
        raise ValueError(f"{_OF}: reporting_mta: expected a mapping of mta_type, such as 'dns', and name")
    for key in _SWITCHES:
        if not isinstance(params.get(key, False), bool):
            raise ValueError(f"{_OF}: {key}: {params[key]!r}, expected True or False")
    try:
        included = Included(params.get("include_original_message", "No"))
    except ValueError:
        names = ", ".join(member.value for member in Included)
        raise ValueError(f"{_OF}: include_original_message: expected one of {names}") from None
    return NoticeSettings(
        mta_type=mta["mta_type"],
        mta_name=mta["name"],
        include_original_message=included,
        **{key: params.get(key, False) for key in _SWITCHES},
    )
