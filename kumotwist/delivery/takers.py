"""Who takes the mail of a queue that goes to no host."""

from kumotwist.config.queues import MaildirDelivery, PolicyDelivery
from kumotwist.delivery.by_policy import ByPolicy
from kumotwist.delivery.hand_over import Taker
from kumotwist.delivery.maildir import Maildir, Maildirs
from kumotwist.hooks.policy import Policy


def taker_of(instead: MaildirDelivery | PolicyDelivery, policy: Policy, maildirs: Maildirs) -> Taker:
    """For one session."""
    return ByPolicy(policy, instead) if isinstance(instead, PolicyDelivery) else Maildir(instead, maildirs)
