"""
Killed under load, started again, time after time on one spool: at random moments, and at named points around each sync.

After each kill the books are read from a copy of what is on disk: log files, journal and spool.  At the end: what a client was
told 250 for has arrived, each message has one final record, and what arrived twice had none when we were killed.

KUMOTWIST_KILL_SEED chooses other moments.  `python -m tests.torture --kills 300` does it for as long as you like.
"""

import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

from msgspec import Struct

from tests.peers.evidence import FINAL, Record, message_ids_in, of_type
from tests.peers.support import PeerTestCase, Server, Traffic
from tests.torture.doomed import POINTS

SEED = int(os.environ.get("KUMOTWIST_KILL_SEED", "20260801"))
LONGEST_LIFE = 5.0  # seconds that a server has to pass the point at which it dies; then it is killed wherever it is
LONGEST = 1.0  # seconds at most from the start, or from when it works again, to the kill

SPOOL = "spool: {path: spool, kind: %s, min_free_space: 0, min_free_inodes: 0}\n"
CONFIG = """
queues:
  queue:
    default:
      retry_interval: 1 second
      max_retry_interval: 1 second
      protocol: {smtp: {mx_list: [%s]}}
shaping:
  rules:
    default: {prohibited_hosts: [], enable_tls: Disabled, max_ready: 200}
"""

# slow: there are always some messages whose end was sent and not answered.  defer: some wait for another try.
BEHAVIOUR = """
domains:
  slow.example: {delay: 20 ms}
  defer.example: {defer: {share: 40, stage: dot}}
  refuse.example: {refuse: {share: 100}}
"""
DOMAINS = ("quick.example:5", "slow.example:2", "defer.example:2", "refuse.example:1")


class AtKill(Struct, frozen=True, kw_only=True):
    """What was on disk when the server had been killed.  seen: how many messages the sink had accepted by then."""

    number: int
    acknowledged: frozenset[str]
    received: frozenset[str]
    ended: frozenset[str]
    spooled: frozenset[str]
    seen: int


class Doomed(Server):
    """Our server, which may be told to die at a point of its own; see tests.torture.doomed."""

    def __init__(self, place: Path, config: str) -> None:
        super().__init__(place, config)
        options = self._argv[self._argv.index("-n") :]
        self._plain = [sys.executable, "-m", "tests.torture.doomed", *options]
        self._argv = self._plain

    def doom(self, point: str, count: int) -> None:
        """Launch it so that it dies when it passes that point so often."""
        self._argv = ["env", f"KUMOTWIST_DIES_AT={point}:{count}", *self._plain]
        self.launch()
        self._argv = self._plain


class KillCase(PeerTestCase):
    """One spool, one sink, one load that sends again whatever was not answered."""

    kind: str
    seed = SEED
    kills = 20

    def torture(self) -> None:
        """As many kills as `kills` says; for the driver."""
        self.check(self.kills)

    def setUp(self) -> None:
        super().setUp()
        self.chance = Random(self.seed)
        self.receiver = self.sink(BEHAVIOUR, keep=True)
        self.mta = self.started(Doomed(self.place / "server", SPOOL % self.kind + CONFIG % self.receiver.mx))

    def killed(self, times: int) -> list[AtKill]:
        """So often, at moments that the seed tells; then the load ends and everything is delivered."""
        domains = [option for domain in DOMAINS for option in ("--domain", domain)]
        self.traffic = self.started(
            Traffic(
                *(self.place, self.mta.address, "--retry", "--duration", "1 hour", "--concurrency", "10"),
                *("--messages-per-connection", "50", "--body-size", "2KiB", "--seed", str(self.seed), *domains),
            )
        )
        kills = []
        self.points: Counter[str] = Counter()
        for number in range(1, times + 1):
            if number % 2 == 0:
                self._let_it_die()
            elif number % 3:
                self.mta.start()
                self.traffic.wait_for_more(50)
                time.sleep(self.chance.uniform(0.0, LONGEST))
            else:
                self.mta.launch()  # and then it is killed while it starts, or soon after
                time.sleep(self.chance.uniform(0.0, LONGEST))
            self.mta.kill()
            kills.append(self.on_disk(number))
        self.mta.start()
        self.traffic.wait_for_more(50)
        self.traffic.signal(signal.SIGINT)
        self.traffic.wait()
        return kills

    def _let_it_die(self) -> None:
        """At a point of its own choice; what it does not pass so often in time, is not to be waited for."""
        point = self.chance.choice(POINTS)
        often = point.endswith(("spool write", "log write"))
        self.mta.doom(point, self.chance.randrange(1, 60 if often else 4))
        ends = time.monotonic() + LONGEST_LIFE
        while self.mta.runs and time.monotonic() < ends:
            time.sleep(0.05)
        self.points[point if not self.mta.runs else "at random"] += 1

    def on_disk(self, number: int) -> AtKill:
        """What a copy of the dead server's files says, so that looking changes nothing."""
        self.receiver.wait_until_idle()  # it has all that was under way
        seen = self.receiver.stats()["messages"]
        acknowledged = frozenset(map(id_told, self.traffic.acknowledged()))
        copy = Server(self.place / f"copy-{number}", "")
        for part in ("spool", "log"):
            if (self.mta.place / part).exists():
                shutil.copytree(self.mta.place / part, copy.place / part)
        records = [*copy.records(), *copy.journal(self.kind)]
        found = AtKill(
            number=number,
            acknowledged=acknowledged,
            received=frozenset(one["id"] for one in records if one["type"] == "Reception"),
            ended=frozenset(one["id"] for one in records if one["type"] in FINAL),
            spooled=frozenset(copy.spooled(self.kind)),
            seen=seen,
        )
        shutil.rmtree(copy.place)
        return found

    def finished(self, never_accepted: frozenset[str]) -> list[Record]:
        """All is delivered, and the server stopped in order: then the log is the whole truth."""

        def all_ended(records: list[Record]) -> bool:
            ended = {one["id"] for one in records if one["type"] in FINAL}
            return ended >= {one["id"] for one in records if one["type"] == "Reception"}

        self.mta.wait_for_records(all_ended, "a final record of every message", every=0.5)
        self.mta.stop()
        self.receiver.end()
        records = self.mta.records()
        spooled = self.mta.spooled(self.kind)
        self.assertEqual(list(spooled), [])
        self.assert_books_balance(records, spooled, never_accepted)
        return records

    # What must hold

    def never_accepted(self, kills: list[AtKill]) -> frozenset[str]:
        """
        Messages that a kill left in the spool without a record of their reception: none, where they share one write.

        With files there are: contents and envelopes come first.  Nobody was told 250 for them.
        """
        found: frozenset[str] = frozenset()
        for kill in kills:
            found |= kill.spooled - kill.received
        if self.kind == "rocksdb":
            self.assertEqual(found, frozenset(), f"seed {self.seed}")
        self.assertEqual(found & frozenset(map(id_told, self.traffic.acknowledged())), frozenset(), f"seed {self.seed}")
        return found

    def assert_nothing_lost(self, kills: list[AtKill], records: list[Record]) -> None:
        """At every kill accepted = ended + in the spool, message by message; at the end all that was answered 250 has arrived."""
        for kill in kills:
            where = f"seed {self.seed}, kill {kill.number}"
            self.assertEqual(kill.acknowledged - kill.received, frozenset(), where)
            self.assertEqual(kill.received - kill.ended - kill.spooled, frozenset(), where)
            self.assertEqual(kill.ended & kill.spooled, frozenset(), where)
        arrived = {one["traffic_id"] for one in self.receiver.accepted()}
        bounced = {one["recipient"] for one in of_type(records, "Bounce")}
        self.assertEqual({one.rpartition("@")[2] for one in bounced}, {"refuse.example"})
        missing = [
            one["recipient"] for one in self.traffic.acknowledged() if one["id"] not in arrived and one["recipient"] not in bounced
        ]
        self.assertEqual(missing, [], f"seed {self.seed}")

    def assert_doubles_explained(self, kills: list[AtKill], records: list[Record]) -> str:
        """Nothing arrives after a kill that had its final record by then; so only what had none can arrive twice."""
        lines = self.receiver.accepted()
        ids = list(message_ids_in(self.receiver.contents()))
        for kill in kills:
            late = kill.ended & set(ids[kill.seen :])
            self.assertEqual(late, frozenset(), f"seed {self.seed}: recorded as ended at kill {kill.number}, and sent again")
        before: dict[str, int] = {}
        again = 0
        for place, message_id in enumerate(ids):
            if message_id in before:
                again += 1
                between = [kill for kill in kills if before[message_id] < kill.seen <= place]
                self.assertTrue(
                    any(message_id in kill.spooled for kill in between), f"seed {self.seed}: {message_id} arrived twice"
                )
            before[message_id] = place
        self.assertEqual(len(ids) - again, len(of_type(records, "Delivery")))
        # A client that was not answered sends again.  That makes two messages, each with an id of its own.
        copies: dict[str, set[str]] = {}
        for message_id, line in zip(ids, lines, strict=True):
            copies.setdefault(line["traffic_id"], set()).add(message_id)
        by_client = {one for one, several in copies.items() if len(several) > 1}
        sent_once = {one["id"] for one in self.traffic.acknowledged() if one["attempts"] == 1}
        self.assertEqual(by_client & sent_once, set(), f"seed {self.seed}: two messages made of one")
        return f"{again} sent again after a kill, {len(by_client)} sent again by the client"

    def check(self, times: int) -> None:
        kills = self.killed(times)
        records = self.finished(self.never_accepted(kills))
        self.assert_nothing_lost(kills, records)
        doubles = self.assert_doubles_explained(kills, records)
        waiting = ", ".join(str(len(kill.spooled)) for kill in kills)
        taken = len(of_type(records, "Reception"))
        print(f"\n    seed {self.seed}: {taken} messages; in the spool at the kills {waiting}; {doubles}", end="; ")
        print(f"died at {dict(self.points)}", end=" ")


class RocksdbTests(KillCase):
    kind = "rocksdb"

    def test_eight_kills_lose_nothing_and_send_nothing_again_that_was_recorded(self) -> None:
        self.check(8)


class LocalDiskTests(KillCase):
    kind = "local_disk"

    def test_four_kills_lose_nothing_and_send_nothing_again_that_was_recorded(self) -> None:
        self.check(4)


def id_told(line: Record) -> str:
    """Our id of a message, from the reply to it."""
    return str(line["reply"]).partition("ids=")[2].split()[0]
