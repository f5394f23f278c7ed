"""
How fast the spool is: how many changes share a sync, how long one takes, and how long somebody waits for it.

Each histogram is added to by one thread only; whoever reads it meanwhile sees it one change older, or newer.
"""

from collections.abc import Iterator

from kumotwist.metrics.family import SECONDS, Family, Histogram, histogram

_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)  # changes
_SYNCS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, *SECONDS)  # one sync of a good disk takes 0.2 ms


class SpoolCounts:
    """saved: seconds from a change being asked for until it is known to be on disk."""

    __slots__ = ("_content_reads", "_envelope_reads", "_sizes", "_writes", "saved")

    def __init__(self) -> None:
        self._sizes = Histogram(_SIZES)
        self._writes = Histogram(_SYNCS)
        self._content_reads = Histogram(_SYNCS)
        self._envelope_reads = Histogram(_SYNCS)
        self.saved = Histogram(_SYNCS)

    def committed(self, changes: int, seconds: float) -> None:
        """One synced write."""
        self._sizes.observe(changes)
        self._writes.observe(seconds)

    def read(self, content: bool, seconds: float) -> None:
        """Some messages were read in one go."""
        (self._content_reads if content else self._envelope_reads).observe(seconds)

    def measures(self) -> Iterator[Family]:
        yield histogram("message_save_latency", "seconds until a change of a message is on disk", self.saved)
        yield histogram("message_data_load_latency", "seconds to read contents from the spool", self._content_reads)
        yield histogram("message_meta_load_latency", "seconds to read envelopes from the spool", self._envelope_reads)
        yield histogram("group_commit_size", "changes that shared a synced write", self._sizes)
        yield histogram("group_commit_seconds", "seconds that a synced write took", self._writes)
