"""Whatever receiving hosts do, and whenever we are told to end: no message is lost, none is told of twice, none is made up."""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from kumotwist.config.egress import ReconnectStrategy
from kumotwist.delivery.broken import BrokenOffers
from kumotwist.delivery.stop import Stop
from kumotwist.mail.disposition import Attempt, Outcome
from kumotwist.mail.message import Message
from tests.delivery.case import DELIVERED, MX, MX2, SessionCase, Supply, host, message
from tests.delivery.scripted import CHUNKING, EXTENSIONS, HANG_UP, PLAIN, RESET, SILENCE, THEN_HANG_UP, UNHEARD, Mx

GOOD = 40  # of so many answers one is bad
BAD = (
    "451 4.3.0 not now",
    "452 4.5.3 too many recipients",
    "452 full",
    "503 5.5.1 order!",
    "550 5.1.1 never",
    "552 too much",
    "421 4.3.2 closing" + THEN_HANG_UP,
    "421 4.3.2 closing",
    "250 2.0.0 fine",
    "250 2.0.0 fine\r\n421 4.3.2 closing",
    "354 go ahead",
    "251 2.1.5 will forward",
    "hello",
    "250-a\r\n251 b",
    "354 go ahead\r\n250 2.0.0 fine",
    UNHEARD,
    SILENCE,
    HANG_UP,
    RESET,
)


def whim(chance: Random, good: str, bad: Sequence[str] = BAD) -> list[str]:
    """What a host says at one stage, time after time; well in the end, lest a session never end."""
    odds = chance.choice((3, 10, GOOD))
    return [chance.choice(bad) if chance.random() < 1 / odds else good for _ in range(60)] + [good]


def content(number: int, *, large: bool) -> bytes:
    return b"%d\r\n" % number * (6000 if large else 1)


class WhateverTests(SessionCase):
    """Three hundred worlds, each different and each the same every time."""

    def build(self, chance: Random) -> tuple[Supply, list[Mx]]:
        hosts = []
        lmtp = chance.random() < 0.3
        for ip in (MX, MX2):
            answers: dict[str, Any] = {stage: whim(chance, good) for stage, good in PLAIN.items()}
            answers["EHLO"] = chance.choice(
                (EXTENSIONS, "250 mx", "250-mx\r\n250 PIPELINING", CHUNKING["EHLO"], "250-mx\r\n250 CHUNKING")
            )
            if lmtp:  # of many replies that are about one recipient each, nobody can tell which was one too many
                answers["."] = whim(chance, PLAIN["."], [bad for bad in BAD if "\r\n" not in bad or "-" in bad[:4]])
            answers["LHLO"] = chance.choice((EXTENSIONS, "250 mx"))
            hosts.append(self.mx(answers, ip))
        messages = []
        for number in range(1, chance.randint(2, 12)):
            to = [f"r{number}-{place}@example.com" for place in range(chance.choice((1, 1, 1, 2, 5)))]
            messages.append(message(number, *to, content=content(number, large=chance.random() < 0.3)))
        path = self.path(
            host("mx1.example.com", MX),
            host("mx2.example.com", MX2),
            max_recipients_per_batch=chance.choice((1, 2, 100)),
            max_deliveries_per_connection=chance.choice((1, 3, 100)),
            enable_rset=chance.random() < 0.7,
            enable_pipelining=chance.random() < 0.7,
            use_lmtp=lmtp,
            reconnect_strategy=chance.choice(list(ReconnectStrategy)),
            try_next_host_on_transport_error=chance.random() < 0.5,
            aggressive_connection_opening=chance.random() < 0.2,
        )
        supply = self.supply(*messages, path=path)
        supply.send_waits = [chance.choice((0.0, 0.0, 0.0, 1.0, 1000.0)) for _ in range(6)]
        return supply, hosts

    def check(self, supply: Supply, hosts: list[Mx], seed: int) -> None:
        taken = Counter((who, body.partition(b"\r\n")[0]) for one in hosts for recipients, body in one.taken for who in recipients)
        delivered = set()
        for call in supply.calls:
            if call[0] not in ("settle", "told"):
                continue
            named = [who for _, group, _ in call[2] for who in group]
            self.assertEqual(len(named), len(set(named)), (seed, call))
            for verdict, group, text in call[2]:
                for who in group:
                    had = taken[who, b"%d" % call[1]]
                    if verdict == DELIVERED:
                        self.assertEqual(had, 1, (seed, call))
                        delivered.add(who)
                    elif had and call[0] == "settle":
                        self.assertIn("may have been delivered", text, (seed, call))
        back = [call[1] for call in supply.calls if call[0] == "give_back"]
        # An empty message, which a peer gets that takes DATA although it took nobody, is none of ours.
        given_back = {who for who, body in taken if body and int(who[1:].partition("-")[0]) in back}
        self.assertEqual(given_back - delivered, set(), (seed, "what was given back had reached nobody"))

    def live(self, seed: int) -> None:
        chance = Random(seed)
        supply, hosts = self.build(chance)
        sizes = {one.id: len(one.recipients) for one in supply.ready}
        broken = BrokenOffers()

        def went_on(message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
            told = [(one.verdict.value, [to.email for to in one.recipients], one.reply.single_line) for one in outcomes]
            supply.calls.append(("told", int(message.id, 16), told))
            sizes[message.id] = len(message.recipients)

        for _ in range(50):
            if not supply.ready:
                break
            ended = self.start(supply, broken=broken, went_on=went_on)
            end = chance.choice(("", "", "", "cancel", "stop"))
            for _ in range(chance.randint(0, 5) if end else 400):
                if ended.called:
                    break
                self.network.wait(chance.choice((0.5, 3.0, 40.0)))
            if end == "cancel":
                ended.cancel()
            elif end == "stop":
                self.stop.give()
                self.stop = Stop()
            for _ in range(400):
                if ended.called:
                    break
                self.network.wait(40.0)
        self.assertEqual(supply.ready, [], seed)
        for call in supply.calls:
            if call[0] == "settle":
                self.assertEqual(sum(len(group) for _, group, _ in call[2]), sizes[f"{call[1]:032x}"], (seed, call))
        self.check(supply, hosts, seed)

    def test_every_message_is_answered_for_once_and_truly(self) -> None:
        for seed in range(300):
            self.live(seed)
            self.anew()
