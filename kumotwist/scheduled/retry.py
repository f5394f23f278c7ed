"""
When to try again, and when to give up.  Pure: numbers in, values out.

The model's arithmetic: the wait doubles from retry_interval up to max_retry_interval, with a jitter taken from
retry_interval; and a message expires as soon as its next attempt would come too late, not only when the time has come.
"""

from msgspec import Struct

from kumotwist.config.fields import format_duration
from kumotwist.config.queues import QueueSettings
from kumotwist.mail.message import Message
from kumotwist.mail.reply import Reply, reply
from kumotwist.mail.schedule import rfc3339_utc

_MOST_JITTER = 60.0  # seconds, from one end of the range to the other
_MOST_DOUBLINGS = 60  # beyond it the wait is longer than any max_age


class Retry(Struct, frozen=True):
    """Try again at `due`, epoch seconds."""

    due: float


class Expired(Struct, frozen=True):
    """Do not try again; `reply` is what the Expiration record says."""

    reply: Reply


def delay(settings: QueueSettings, attempts: int) -> float:
    """Seconds between the failure after `attempts` counted ones and the next attempt, without jitter."""
    wait = int(settings.retry_interval) * 2.0 ** min(attempts, _MOST_DOUBLINGS)
    return wait if settings.max_retry_interval is None else min(wait, settings.max_retry_interval)


def jitter(settings: QueueSettings, drawn: float) -> int:
    """Seconds to add, negative ones too; drawn: 0 <= drawn < 1, uniformly."""
    magnitude = min(int(settings.retry_interval) / 20, _MOST_JITTER)
    return int(drawn * magnitude - magnitude / 2)


def after_failure(settings: QueueSettings, message: Message, now: float, drawn: float) -> Retry | Expired:
    """A counted failure: `message.attempts` are those before it."""
    due = now + delay(settings, message.attempts) + jitter(settings, drawn)
    if message.schedule is not None:
        due = message.schedule.adjust(due)
        if message.schedule.expires is not None:
            return _against_expires(due, message.schedule.expires)
    age = due - message.created
    if age <= settings.max_age:
        return Retry(due)
    return Expired(
        reply(
            f"551 5.4.7 Next delivery time would be {format_duration(int(age))} after creation, "
            f"which exceeds max_age={format_duration(settings.max_age)}"
        )
    )


def while_waiting(settings: QueueSettings, message: Message, due: float) -> Expired | None:
    """A message that waits, uncounted, until `due`: whether that is too late for it."""
    if message.schedule is not None and message.schedule.expires is not None:
        verdict = _against_expires(due, message.schedule.expires)
        return verdict if isinstance(verdict, Expired) else None
    age = due - message.created
    if age < settings.max_age:
        return None
    return Expired(reply(f"551 5.4.7 Next delivery time {format_duration(int(age))} > {format_duration(settings.max_age)}"))


def _against_expires(due: float, expires: float) -> Retry | Expired:
    if due < expires:
        return Retry(due)
    return Expired(
        reply(
            f"551 5.4.7 Next delivery time would be at {rfc3339_utc(due)} which exceeds the expiry time "
            f"{rfc3339_utc(expires)} configured via set_scheduling"
        )
    )
