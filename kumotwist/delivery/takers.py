"""Who takes the mail of a queue that goes to no host."""

from kumotwist.config.queues import MaildirDelivery, PolicyDelivery, XferDelivery
from kumotwist.delivery.by_policy import ByPolicy
from kumotwist.delivery.hand_over import Taker
from kumotwist.delivery.maildir import Maildir, Maildirs
from kumotwist.delivery.transfer import Courier, Transfer
from kumotwist.hooks.policy import Policy


def taker_of(
    instead: MaildirDelivery | PolicyDelivery | XferDelivery, policy: Policy, maildirs: Maildirs, courier: Courier
) -> Taker:
    """For one session.  courier: brings mail to other nodes."""
    if isinstance(instead, XferDelivery):
        return Transfer(instead, courier)
    return ByPolicy(policy, instead) if isinstance(instead, PolicyDelivery) else Maildir(instead, maildirs)
