"""
Receivers that defer, refuse, hang up, fall silent or talk nonsense, at each stage of the dialogue.

For each the log has the record of the reference, and the message is where that record says: gone, or in the spool with one
attempt counted and a time to try again.  At the end all that waits expires, which shows that nothing was stranded.
"""

import re
import smtplib

from msgspec import Struct

from tests.peers.evidence import Record, of_type, said_to
from tests.peers.odd import Odd
from tests.peers.support import PATIENCE, SPOOL, PeerTestCase, Server, Sink

INTERNAL = "KumoMTA internal: "
NO_HOST = f"400 {INTERNAL}failed to connect to any candidate hosts: 127.0.0.3/127.0.0.3:[0-9]+: "
BROKE = f"400 {INTERNAL}failed to send message: "
LATE = f"421 4.4.2 {INTERNAL}failed to send message to .*: Timed Out waiting 5s for response to "
HUNG_UP = "connection (closed by the peer|lost: .*)"
NONSENSE = "not a reply: .*"
PERHAPS = "; the end of the message had been sent: it may have been delivered, and will be sent again"

EARLY = ("banner", "ehlo", "mail")  # before anybody is named: only a sink's default rule can answer there
STAGES = (*EARLY, "rcpt", "data", "dot")
COMMANDS = {"ehlo": "EHLO mta.peers.example", "mail": "MAIL FROM:", "rcpt": "RCPT TO:", "data": "DATA", "dot": r"\."}

CONFIG = """
queues:
  queue:
    default: {retry_interval: 1 hour, max_age: %(max_age)s}
%(sites)s
shaping:
  rules:
    default:
      prohibited_hosts: []
      enable_tls: Disabled
      idle_timeout: 500 ms
      enable_pipelining: %(pipelining)s
      banner_timeout: %(patience)s
      ehlo_timeout: %(patience)s
      mail_from_timeout: %(patience)s
      rcpt_to_timeout: %(patience)s
      data_timeout: %(patience)s
      data_dot_timeout: %(patience)s
"""
SITE = "    {domain}: {{protocol: {{smtp: {{mx_list: [{mx}]}}}}}}\n"


class Case(Struct, frozen=True, kw_only=True):
    """
    A site, and what must be told of a message to it.

    said: a pattern for the whole reply of the record.  command: one for what that answered; empty: it answered nothing.
    """

    domain: str
    mx: str
    record: str
    said: str
    command: str = ""


class ReceiversCase(PeerTestCase):
    """A server with a site for each case; one message to each."""

    def assert_told(self, name: str, cases: list[Case], *, pipelining: bool, patience: str) -> None:
        sites = "".join(SITE.format(domain=case.domain, mx=case.mx) for case in cases)
        facts = {"sites": sites, "pipelining": str(pipelining).lower(), "patience": patience}
        server = self.started(Server(self.place / name, SPOOL + CONFIG % {**facts, "max_age": "1 week"}))
        with smtplib.SMTP(server.host, server.port, timeout=PATIENCE) as client:
            for case in cases:
                client.sendmail("sender@peers.example", [f"someone@{case.domain}"], "Subject: hello\r\n\r\nhello\r\n")

        def all_told(records: list[Record]) -> bool:
            return len({one["recipient"] for one in records if one["type"] != "Reception"}) == len(cases)

        server.wait_for_records(all_told, "an outcome for each")
        server.stop()
        records = server.records()
        wrong = [fault for case in cases if (fault := fault_of(case, records))]
        self.assertEqual(wrong, [], name)
        self.assert_those_wait_that_shall(server, records)
        self.assert_none_is_stranded(server, SPOOL + CONFIG % {**facts, "max_age": "10 ms"}, records)

    def assert_those_wait_that_shall(self, server: Server, records: list[Record]) -> None:
        spooled = server.spooled()
        self.assert_books_balance(records, spooled)
        failed = {one["id"]: one for one in of_type(records, "TransientFailure")}
        self.assertEqual(set(spooled), set(failed))
        for message_id, message in spooled.items():
            self.assertEqual(message.attempts, 1)
            self.assertTrue(3569 <= message.due - failed[message_id]["timestamp"] <= 3631)  # an hour, and its jitter
            self.assertEqual(message.last_reply, said_to(failed[message_id]))

    def assert_none_is_stranded(self, server: Server, config: str, before: list[Record]) -> None:
        """A start finds all that wait: with a shorter life they expire."""
        waiting = {one["id"] for one in of_type(before, "TransientFailure")}
        server.configure(config)
        server.start()
        server.wait_for_records(lambda records: len(of_type(records, "Expiration")) >= len(waiting), "all that waited expire")
        server.stop()
        records = server.records()
        self.assert_books_balance(records, {})
        expired = of_type(records, "Expiration")
        self.assertEqual({one["id"] for one in expired}, waiting)
        self.assertEqual({said_to(one)[:10] for one in expired}, {"551 5.4.7 "})
        self.assertEqual(len(records), len(before) + len(waiting))  # nothing else was tried meanwhile


def fault_of(case: Case, records: list[Record]) -> str:
    """What is not as it must be; empty: all is well."""
    about = [one for one in records if one["recipient"] == f"someone@{case.domain}"]
    kinds, last = [one["type"] for one in about], about[-1]
    answered = last["response"]["command"] or ""
    told = f"{case.domain}: {kinds} {said_to(last)!r}, answered {answered!r}"
    if kinds != ["Reception", case.record] or not re.fullmatch(case.said, said_to(last)):
        return f"{told}; expected {case.record} {case.said!r}"
    if bool(answered) != bool(case.command) or not re.match(case.command, answered):
        return f"{told}; expected as an answer to {case.command!r}"
    facts = (last["num_attempts"], last["egress_source"], last["site"].partition("->")[0], last["size"] > 0)
    return "" if facts == (0, "unspecified", "unspecified", True) else f"{told}; {facts}"


class SinkStageTests(ReceiversCase):
    """The sink's behaviour at each stage: defer, refuse, disconnect."""

    def test_each_answer_at_each_stage_is_told_as_the_reference_says(self) -> None:
        late = [f"{kind}-{stage}" for stage in STAGES if stage not in EARLY for kind in ("defer", "refuse", "disconnect")]
        rules = "".join(f"  {name}.example: {rule(*name.split('-'))}\n" for name in late)
        sinks = {"late": Sink(self.place / "late", f"domains:\n{rules}", name="late")}
        for stage in EARLY:
            for kind in ("defer", "refuse", "disconnect"):
                name = f"{kind}-{stage}"
                sinks[name] = Sink(self.place / name, f"default: {rule(kind, stage)}\n", name=name)
        for sink in sinks.values():
            self.addCleanup(sink.kill)
            sink.launch()
        for sink in sinks.values():
            sink.start()
        kinds = ("defer", "refuse", "disconnect")
        cases = [expected(kind, stage, sinks.get(f"{kind}-{stage}", sinks["late"]).mx) for stage in STAGES for kind in kinds]
        self.assert_told("pipelined", cases, pipelining=True, patience="5 minutes")
        self.assert_told("one-by-one", cases, pipelining=False, patience="5 minutes")


def rule(kind: str, stage: str) -> str:
    replies = {"defer": ', replies: ["451 4.7.1 Come back later"]', "refuse": ', replies: ["554 5.7.1 Go away"]'}
    return f"{{{kind}: {{share: 100, stage: {stage}{replies.get(kind, '')}}}}}"


def expected(kind: str, stage: str, mx: str) -> Case:
    """The reference, delivery.md 6: what is said before MAIL is the host's failure and never bounces a message."""
    said = {"defer": "451 4.7.1 Come back later", "refuse": "554 5.7.1 Go away"}.get(kind, HUNG_UP)
    record, command = "TransientFailure", ""
    if stage in ("banner", "ehlo"):
        about = "the greeting" if stage == "banner" else COMMANDS[stage]
        said = NO_HOST + (said if kind == "disconnect" else f"{about} was answered {said}")
    elif kind == "disconnect":
        said = BROKE + said + (PERHAPS if stage == "dot" else "")
    else:
        record, command = "TransientFailure" if kind == "defer" else "Bounce", COMMANDS[stage]
    return Case(domain=f"{kind}-{stage}.example", mx=mx, record=record, said=said, command=command)


class OddReceiverTests(ReceiversCase):
    """Silence and nonsense."""

    def odd(self, stage: str, says: bytes, *, closes: bool = False) -> str:
        return self.started(Odd(stage, says, closes=closes)).mx

    def test_silence_at_each_stage_ends_after_that_stages_time(self) -> None:
        cases = []
        for stage in STAGES:
            said = LATE + COMMANDS.get(stage, "") + ".*"
            if stage in ("banner", "ehlo"):
                said = NO_HOST + "Timed Out waiting 5s for response to " + COMMANDS.get(stage, "the greeting") + ".*"
            said += PERHAPS if stage == "dot" else ""
            cases.append(Case(domain=f"silent-{stage}.example", mx=self.odd(stage, b""), record="TransientFailure", said=said))
        self.assert_told("silence", cases, pipelining=True, patience="5 seconds")

    def test_nonsense_at_each_stage_is_a_failure_for_now(self) -> None:
        cases = []
        for stage in STAGES:
            mx = self.odd(stage, b"%$&/ \x00\xff what?\r\n")
            said = (NO_HOST if stage in ("banner", "ehlo") else BROKE) + NONSENSE + (PERHAPS if stage == "dot" else "")
            cases.append(Case(domain=f"garbage-{stage}.example", mx=mx, record="TransientFailure", said=said))
        odd = [
            ("half-a-reply", "dot", b"250 Ok", BROKE + HUNG_UP + PERHAPS),
            ("endless-line", "mail", b"2" * 100_000, BROKE + ".*"),
            ("two-codes", "rcpt", b"250-yes\r\n550 no\r\n", BROKE + "a reply with two codes, 250 and 550"),
            ("bare-lf", "mail", b"250 Ok\n250 Ok\n", BROKE + ".*"),
            ("no-such-code", "rcpt", b"999 5.9.9 What?\r\n", BROKE + NONSENSE),
        ]
        for name, stage, says, said in odd:
            mx = self.odd(stage, says, closes=name == "half-a-reply")
            cases.append(Case(domain=f"{name}.example", mx=mx, record="TransientFailure", said=said))
        answers = [
            ("closing", "rcpt", b"421 4.3.2 Bye\r\n", "TransientFailure", "421 4.3.2 Bye"),
            ("out-of-order", "mail", b"503 5.5.1 What?\r\n", "TransientFailure", "503 5.5.1 What\\?"),
            ("full", "rcpt", b"552 5.2.2 Full\r\n", "Bounce", "552 5.2.2 Full"),
            (
                "many-lines",
                "dot",
                b"550-5.7.1 No\r\n550-5.7.1 and no\r\n550 5.7.1 again\r\n",
                "Bounce",
                "550 5.7.1 No and no again",
            ),
            ("no-354", "data", b"250 2.0.0 Ok\r\n", "TransientFailure", "250 2.0.0 Ok"),
            ("another-354", "dot", b"354 Go on\r\n", "TransientFailure", "354 Go on"),
        ]
        for name, stage, says, record, said in answers:
            mx = self.odd(stage, says, closes=name == "closing")
            cases.append(Case(domain=f"{name}.example", mx=mx, record=record, said=said, command=COMMANDS[stage]))
        self.assert_told("nonsense", cases, pipelining=True, patience="5 minutes")
