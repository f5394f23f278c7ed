"""docs/replies.md is true: each cell of its tables is what the program decides."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.delivery.batch import Batch, conclude
from kumotwist.delivery.judge import Judgement, Scope, judge
from kumotwist.mail.address import parse_mailbox
from kumotwist.mail.disposition import Verdict
from kumotwist.mail.reply import Reply, reply
from kumotwist.smtp.client_session import Stage

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "replies.md"
A, B = parse_mailbox("a@example.com"), parse_mailbox("b@example.com")
LOST = "400 lost"

STAGES = {
    "greeting": Stage.BANNER,
    "EHLO, LHLO": Stage.EHLO,
    "STARTTLS": Stage.STARTTLS,
    "AUTH": Stage.AUTH,
    "RSET": Stage.RSET,
    "MAIL": Stage.MAIL,
    "RCPT": Stage.RCPT,
    "DATA": Stage.DATA,
    "end of the message": Stage.DOT,
    "BDAT": Stage.BDAT,
}
WORDS = {Verdict.DELIVERED: "delivered", Verdict.BOUNCED: "bounces", Verdict.POSTPONED: "waits"}


def table(title: str) -> list[list[str]]:
    """The rows of the first table below a heading, its own heading first."""
    lines = iter(PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].splitlines())
    found: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
        elif found:
            break
    del found[1]  # the line between heading and rows
    return found


def column(code: int, well: str) -> str:
    """Which column of the first table a code stands in.  well: what stands in that for the good ones."""
    good = well.partition(":")[0]
    if good == str(code) or (good == "2xx" and 200 <= code <= 299):
        return "all is well"
    if code < 400:
        return "another 2xx or 3xx"
    if code in (421, 503):
        return str(code)
    if code < 500:
        return "other 4xx"
    return "500–502, 504" if code <= 504 else "other 5xx"


def in_words(judgement: Judgement, well: str) -> str:
    """A cell of the first table."""
    if judgement.verdict is None:
        return well.partition(":")[0]
    if judgement.verdict is Verdict.DELIVERED:
        return well if well.endswith(": delivered") else "delivered"
    if judgement.scope is Scope.CONNECTION:
        return "next host"
    return f"{judgement.scope.value} {WORDS[judgement.verdict]}{', end' if judgement.closes else ''}"


class RepliesPageTests(SynchronousTestCase):
    def test_stage_by_code(self) -> None:
        heading, *rows = table("Stage by code")
        self.assertEqual([row[0] for row in rows], list(STAGES))
        self.assertEqual(set(Stage) - set(STAGES.values()), {Stage.QUIT}, "what is said to QUIT is of no interest")
        for stage, *cells in rows:
            told = dict(zip(heading[1:], cells, strict=True))
            for code in range(200, 600):
                judgement = judge(Reply(code, None, ""), STAGES[stage])
                where = column(code, told["all is well"])
                self.assertEqual(told[where], in_words(judgement, told["all is well"]), (stage, code))

    def test_too_many_recipients(self) -> None:
        _, *rows = table("Too many recipients")
        self.assertEqual(len(rows), 6)
        for answer, *cells in rows:
            said = f"{answer.strip('`')} text"
            first = self.concluded(["250 s", said, "250 r", "354 d", "250 e"])["a"]
            later = self.concluded(["250 s", "250 r", said, "354 d", "250 e"])["b"]
            again = self.concluded(["250 s", "250 r", said, "354 d", "250 e"], again=True)["b"]
            self.assertEqual([one.partition(" ")[0].replace("at", "at once") for one in (first, later, again)], cells, answer)

    def test_batches(self) -> None:
        _, *rows = table("Batches")
        self.assertGreater(len(rows), 10)
        for row in rows:
            heard, expected = [one for one in row[:5] if one], row[5:]
            broke = heard[-1] == "lost"
            found = self.concluded([one for one in heard if one != "lost"], broke=broke)
            self.assertEqual([found["a"], found["b"]], expected, row)

    def concluded(self, heard: list[str], *, broke: bool = False, again: bool = False) -> dict[str, str]:
        """Recipient → what becomes of it, and with which code."""
        batch = Batch([A, B], rset=False)
        batch.hear([reply(one if " " in one else f"{one} text") for one in heard])
        batch.fault = reply(LOST) if broke else None
        decided, too_many = conclude(batch, [B] if again else [])
        told = {who.local: f"{WORDS[verdict]} {'lost' if why == reply(LOST) else why.code}" for verdict, who, why in decided}
        return told | {who.local: "at once" for who, _ in too_many}
