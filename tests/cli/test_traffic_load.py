"""A whole load against sinks in memory: the clock is ours, and so is what the network does."""

from collections.abc import Iterator
from random import Random
from typing import Any

from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import ClientFactory, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.sink_behaviour import Answer, Behaviour, Kind, Rule, Stage
from kumotwist.cli.sink_record import Accepted
from kumotwist.cli.sink_wire import SinkFactory
from kumotwist.cli.traffic_load import PATIENCE, Load, LoadPlan
from kumotwist.cli.traffic_mail import Mailing, WeightedDomain
from kumotwist.cli.traffic_results import Results


class Pipe:
    """A connection in memory between a client's and a server's protocol."""

    def __init__(self, client: Any, server: Any) -> None:
        self.client, self.server = client, server
        self.to_server, self.to_client = StringTransport(lenient=True), StringTransport(lenient=True)
        self.open = True
        server.makeConnection(self.to_client)
        client.makeConnection(self.to_server)

    def pump(self) -> bool:
        """Carry what was said; whether there was anything."""
        if not self.open:
            return False
        moved = False
        for source, sink in ((self.to_server, self.server), (self.to_client, self.client)):
            octets = source.value()
            source.clear()
            if octets:
                moved = True
                sink.dataReceived(octets)
        if not moved and (self.to_server.disconnecting or self.to_client.disconnecting):
            self.cut()
            return True
        return moved

    def cut(self) -> None:
        """The network takes the connection away from both."""
        self.open = False
        self.server.connectionLost(connectionDone)
        self.client.connectionLost(connectionDone)


class Network:
    """Where loads connect to: a sink, or nobody while `away`."""

    def __init__(self, clock: Clock, behaviour: Behaviour) -> None:
        self.taken: list[Accepted] = []
        self.sink = SinkFactory(behaviour, clock, Random(1).random, hostname="sink", take=self.taken.append)
        self.pipes: list[Pipe] = []
        self.local_addresses: list[str | None] = []
        self.away = False

    def connect(self, factory: ClientFactory, local_address: str | None) -> None:
        self.local_addresses.append(local_address)
        if self.away:
            factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        else:
            self.pipes.append(Pipe(factory.buildProtocol(None), self.sink.buildProtocol(None)))

    def run(self, rounds: int = 1_000_000) -> None:
        """Carry until nothing moves."""
        for _ in range(rounds):
            self.pipes = [pipe for pipe in self.pipes if pipe.open]
            if not [pipe for pipe in self.pipes if pipe.pump()]:
                return


class LoadCase(SynchronousTestCase):
    """Starts loads."""

    def load(self, behaviour: Behaviour = Behaviour(), **plan: Any) -> Load:  # noqa: B008 - frozen
        self.clock = Clock()
        self.network = Network(self.clock, behaviour)
        self.results = Results()
        mailing = Mailing(
            run="r", sender="a@b.example", domains=[WeightedDomain("x.example")], body_size=50, date="", draw=Random(1).random
        )
        load = Load(LoadPlan(**plan), mailing, self.results, self.clock, self.network.connect)
        self.finished = load.start()
        return load

    def ids(self) -> Iterator[str]:
        return (message.recipients[0].partition("@")[0] for message in self.network.taken)


class LoadTests(LoadCase):
    """A server that is there."""

    def test_all_messages_arrive_once_over_all_connections(self) -> None:
        self.load(concurrency=4, messages=25)
        self.network.run()
        self.assertEqual(sorted(self.ids()), sorted(f"r-{number}" for number in range(1, 26)))
        self.successResultOf(self.finished)
        self.assertEqual((self.results.accepted, self.results.connections, self.results.all_taken), (25, 4, True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_more_connections_than_messages(self) -> None:
        self.load(concurrency=50, messages=3)
        self.assertEqual(len(self.network.pipes), 3)

    def test_connections_are_made_anew_after_their_messages(self) -> None:
        self.load(concurrency=1, messages=10, messages_per_connection=2)
        self.network.run()
        self.assertEqual((self.results.accepted, self.results.connections), (10, 5))

    def test_local_addresses_are_used_in_turn(self) -> None:
        self.load(concurrency=4, messages=4, local_addresses=["127.0.0.2", "127.0.0.3"])
        self.assertEqual(self.network.local_addresses, ["127.0.0.2", "127.0.0.3"] * 2)

    def test_a_duration_ends_with_what_is_in_hand(self) -> None:
        self.load(concurrency=1, duration=10.0)
        self.network.run(rounds=50)
        self.clock.advance(10)
        self.assertNoResult(self.finished)
        self.network.run()
        self.successResultOf(self.finished)
        self.assertEqual(self.results.accepted, len(self.network.taken))
        self.assertTrue(self.results.all_taken)

    def test_refusals_are_counted_by_code(self) -> None:
        self.load(
            Behaviour(default=Rule(answers={Stage.RCPT: (Answer(Kind.REFUSED, 50, (b"550 5.1.1 No\r\n",)),)})),
            concurrency=2,
            messages=40,
        )
        self.network.run()
        self.successResultOf(self.finished)
        self.assertEqual(self.results.accepted + self.results.refused, 40)
        self.assertEqual(dict(self.results.replies), {"250": self.results.accepted, "550": self.results.refused})
        self.assertGreater(self.results.refused, 5)

    def test_without_retry_421_is_an_answer_like_any(self) -> None:
        self.load(
            Behaviour(default=Rule(answers={Stage.MAIL: (Answer(Kind.DEFERRED, 100, (b"421 4.3.2 Busy\r\n",)),)})),
            concurrency=1,
            messages=3,
        )
        self.network.run()
        self.successResultOf(self.finished)
        self.assertEqual((self.results.refused, dict(self.results.replies)), (3, {"421": 3}))

    def test_a_server_that_does_not_answer_is_given_up(self) -> None:
        self.load(Behaviour(default=Rule(delay=1e6)), concurrency=1, messages=1, timeout=5.0)
        self.network.run()
        for _ in range(7):
            self.clock.advance(1)
        self.network.run()
        self.successResultOf(self.finished)
        self.assertEqual((self.results.lost, dict(self.results.faults)), (1, {"no answer in time": 1}))


class AbsenceTests(LoadCase):
    """A server that goes away."""

    def test_without_retry_a_lost_message_is_lost_and_the_rest_goes_on(self) -> None:
        self.load(concurrency=1, messages=5)
        self.network.run(rounds=2)
        self.network.pipes[0].cut()
        self.network.run()
        self.successResultOf(self.finished)
        self.assertEqual((self.results.accepted, self.results.lost, self.results.resent), (4, 1, 0))

    def test_without_retry_nobody_there_is_the_end(self) -> None:
        self.clock = Clock()
        network = Network(self.clock, Behaviour())
        network.away = True
        results = Results()
        mailing = Mailing(run="r", sender="", domains=[WeightedDomain("x")], body_size=0, date="", draw=Random(1).random)
        self.successResultOf(Load(LoadPlan(messages=5), mailing, results, self.clock, network.connect).start())
        self.assertEqual((results.unsent, results.all_taken), (5, False))
        self.assertEqual(sum(results.faults.values()), 5)

    def test_with_retry_everything_arrives_when_the_server_is_back(self) -> None:
        self.load(concurrency=3, messages=30, retry=True)
        self.network.run(rounds=4)
        self.network.away = True
        in_hand = len(self.network.pipes)
        for pipe in list(self.network.pipes):
            pipe.cut()
        self.clock.advance(5)
        self.assertNoResult(self.finished)
        self.network.away = False
        self.clock.advance(1)
        self.network.run()
        self.successResultOf(self.finished)
        self.assertEqual((self.results.accepted, self.results.resent, self.results.all_taken), (30, in_hand, True))
        self.assertEqual(set(self.ids()), {f"r-{number}" for number in range(1, 31)})

    def test_with_retry_a_server_that_stays_away_is_given_up(self) -> None:
        self.load(concurrency=2, messages=10, retry=True)
        self.network.run(rounds=3)
        self.network.away = True
        for pipe in list(self.network.pipes):
            pipe.cut()
        for _ in range(int(PATIENCE) + 5):
            self.clock.advance(1)
        self.successResultOf(self.finished)
        self.assertEqual(self.results.accepted + self.results.lost + self.results.unsent, 10)
        self.assertFalse(self.results.all_taken)

    def test_an_interruption_does_not_wait_for_a_server_that_is_away(self) -> None:
        load = self.load(concurrency=1, messages=10, retry=True)
        self.network.run(rounds=3)
        self.network.away = True
        self.network.pipes[0].cut()
        load.stop(abandon=True)
        self.successResultOf(self.finished)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(self.results.all_taken)
