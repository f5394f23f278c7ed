"""What of a message leaves memory while it waits: `shrink_policy`."""

from collections.abc import Sequence

from kumotwist.config.queues import Shrinking, ShrinkRule


def shrinking(rules: Sequence[ShrinkRule], seconds: float) -> Shrinking:
    """For a message that waits so long: the last rule counts that begins no later; without one, everything leaves."""
    for rule in reversed(rules):
        if rule.interval <= seconds:
            return rule.policy
    return Shrinking.SHRINK_DATA_AND_META
