"""The hosts that one session may still connect to, and why those that it tried would not do."""

from collections import deque
from collections.abc import Iterable

from kumotwist.config.egress import ReconnectStrategy
from kumotwist.delivery.opening import HostFailed, summary
from kumotwist.delivery.plan import Address
from kumotwist.mail.reply import INTERNAL, Reply


class Hosts:
    """A plan while it is used up.  Empty: no address is left to try."""

    __slots__ = ("_addresses", "_failures", "_plan", "_strategy")

    def __init__(self, strategy: ReconnectStrategy) -> None:
        self._strategy = strategy
        self._plan: tuple[Address, ...] = ()
        self._addresses: deque[Address] = deque()
        self._failures: list[HostFailed] = []

    def __len__(self) -> int:
        return len(self._addresses)

    def plan(self, addresses: Iterable[Address]) -> None:
        self._plan = tuple(addresses)
        self.renew()

    def renew(self) -> None:
        """All of the plan may be tried again."""
        self._addresses = deque(self._plan)

    def next(self) -> Address:
        """Raises IndexError where none is left."""
        return self._addresses.popleft()

    def again(self, address: Address) -> None:
        """This one is to be tried next."""
        self._addresses.appendleft(address)

    def clear(self) -> None:
        self._addresses.clear()

    def failed(self, fault: HostFailed) -> None:
        self._failures.append(fault)

    def succeeded(self) -> None:
        """Earlier failures do not matter any more."""
        self._failures.clear()

    def lost(self, address: Address) -> None:
        """A connection that served ended: where the next one goes, by `reconnect_strategy`."""
        if self._strategy is ReconnectStrategy.RECONNECT_SAME_HOST:
            self._addresses.appendleft(address)
        elif self._strategy is ReconnectStrategy.TERMINATE_SESSION:
            self._addresses.clear()

    @property
    def another(self) -> bool:
        """Whether a message that one host did not take may be tried with another at once."""
        return bool(self._addresses) and self._strategy is not ReconnectStrategy.TERMINATE_SESSION

    def in_vain(self) -> Reply:
        """What a message is told that no host took a connection for."""
        reasons = ", ".join(str(failure) for failure in self._failures)
        return Reply(400, None, f"{INTERNAL}failed to connect to any candidate hosts: {summary(self._failures)}{reasons}")
