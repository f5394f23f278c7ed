"""What operators order about ready queues: to suspend one."""

from msgspec import Struct


class ReadySuspension(Struct, frozen=True, kw_only=True):
    """Nothing is sent from the ready queue of exactly this name.  expires: epoch seconds."""

    id: str
    name: str
    reason: str
    expires: float

    @property
    def subject(self) -> str:
        return self.name


class SuspendedReady(Struct, frozen=True, kw_only=True):
    """One in force.  remaining: seconds."""

    order: ReadySuspension
    remaining: float
