"""What the ESMTP listeners have done, counted where it happens and told when somebody asks."""

from collections.abc import Iterator

from kumotwist.metrics.family import Family, Histogram, Sample, counters, gauges, histogram

_SERVICE = "esmtp_listener"


class ListenerCounts:
    """
    One listener.

    received: messages.  connections: clients now; met: ever; denied: refused at once.  rejections: 4xx and 5xx that were told.
    transactions, processing: seconds from MAIL, and from the end of the data, until a message is ours; for all listeners.
    """

    __slots__ = ("connections", "denied", "met", "processing", "received", "rejections", "transactions")

    def __init__(self, transactions: Histogram, processing: Histogram) -> None:
        self.received = self.connections = self.met = self.denied = self.rejections = 0
        self.transactions = transactions
        self.processing = processing

    def accepted(self, count: int, began: float, whole: float, now: float) -> None:
        """So many messages of a transaction are ours.  began, whole, now: when MAIL came, the end of the data, and this."""
        self.received += count
        self.transactions.observe(now - began)
        self.processing.observe(now - whole)


class ReceptionCounts:
    """All listeners, as long as the server runs."""

    def __init__(self) -> None:
        self._by_listener: dict[str, ListenerCounts] = {}
        self._transactions = Histogram()
        self._processing = Histogram()

    def of(self, listen: str) -> ListenerCounts:
        """Those of a listener, by its address as configured."""
        found = self._by_listener.get(listen)
        if found is None:
            found = self._by_listener[listen] = ListenerCounts(self._transactions, self._processing)
        return found

    def measures(self) -> Iterator[Family]:
        for name, kind, what in (
            ("total_messages_received", counters, "messages accepted"),
            ("connection_count", gauges, "connections open now"),
            ("total_connection_count", counters, "connections made"),
            ("total_connections_denied", counters, "connections refused for a limit or our own state"),
        ):
            attribute = _ATTRIBUTES[name]
            yield kind(name, what, ("service",), self._samples(attribute, _SERVICE, f"{_SERVICE}:"))
        yield counters(
            "smtp_server_rejections", "4xx and 5xx said to clients", ("service",), self._samples("rejections", "total", "")
        )
        yield histogram("smtpsrv_transaction_duration", "seconds from MAIL to a message accepted", self._transactions)
        yield histogram("smtpsrv_process_data_duration", "seconds from the end of data to a message accepted", self._processing)

    def _samples(self, attribute: str, total: str, each: str) -> Iterator[Sample]:
        counts = {listen: getattr(one, attribute) for listen, one in self._by_listener.items()}
        yield (total,), sum(counts.values())
        for listen, count in counts.items():
            yield (f"{each}{listen}",), count


_ATTRIBUTES = {
    "total_messages_received": "received",
    "connection_count": "connections",
    "total_connection_count": "met",
    "total_connections_denied": "denied",
}
