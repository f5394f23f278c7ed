"""What replies mean."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.delivery.judge import Excess, Judgement, Scope, excess, judge
from kumotwist.mail.disposition import Verdict
from kumotwist.mail.reply import reply
from kumotwist.smtp.client_session import Stage

ON, GOT, LATER, NEVER = None, Verdict.DELIVERED, Verdict.POSTPONED, Verdict.BOUNCED
SAME, CLOSES = False, True

# stage, code → verdict, whether the connection is to be closed
TABLE = (
    (Stage.BANNER, 220, ON, SAME),
    (Stage.BANNER, 250, LATER, CLOSES),
    (Stage.BANNER, 421, LATER, CLOSES),
    (Stage.BANNER, 554, LATER, CLOSES),
    (Stage.EHLO, 250, ON, SAME),
    (Stage.EHLO, 220, LATER, CLOSES),
    (Stage.EHLO, 502, LATER, CLOSES),
    (Stage.STARTTLS, 220, ON, SAME),
    (Stage.STARTTLS, 454, LATER, CLOSES),
    (Stage.STARTTLS, 501, LATER, CLOSES),
    (Stage.AUTH, 235, ON, SAME),
    (Stage.AUTH, 250, LATER, CLOSES),
    (Stage.AUTH, 334, LATER, CLOSES),
    (Stage.AUTH, 454, LATER, CLOSES),
    (Stage.AUTH, 535, LATER, CLOSES),
    (Stage.RSET, 250, ON, SAME),
    (Stage.RSET, 421, LATER, CLOSES),
    (Stage.RSET, 451, LATER, CLOSES),
    (Stage.RSET, 502, LATER, CLOSES),  # says nothing of the message
    (Stage.MAIL, 250, ON, SAME),
    (Stage.MAIL, 251, ON, SAME),
    (Stage.MAIL, 354, LATER, CLOSES),
    (Stage.MAIL, 421, LATER, CLOSES),
    (Stage.MAIL, 450, LATER, SAME),
    (Stage.MAIL, 503, LATER, SAME),
    (Stage.MAIL, 550, NEVER, SAME),
    (Stage.RCPT, 250, ON, SAME),
    (Stage.RCPT, 251, ON, SAME),
    (Stage.RCPT, 252, ON, SAME),
    (Stage.RCPT, 354, LATER, CLOSES),
    (Stage.RCPT, 421, LATER, CLOSES),
    (Stage.RCPT, 450, LATER, SAME),
    (Stage.RCPT, 452, LATER, SAME),
    (Stage.RCPT, 503, LATER, SAME),
    (Stage.RCPT, 550, NEVER, SAME),
    (Stage.RCPT, 552, NEVER, SAME),
    (Stage.DATA, 354, ON, SAME),
    (Stage.DATA, 250, LATER, CLOSES),  # never a delivery
    (Stage.DATA, 353, LATER, CLOSES),
    (Stage.DATA, 421, LATER, CLOSES),
    (Stage.DATA, 451, LATER, SAME),
    (Stage.DATA, 503, LATER, SAME),
    (Stage.DATA, 554, NEVER, SAME),
    (Stage.DOT, 250, GOT, SAME),
    (Stage.DOT, 200, GOT, SAME),
    (Stage.DOT, 299, GOT, SAME),
    (Stage.DOT, 354, LATER, CLOSES),
    (Stage.DOT, 421, LATER, CLOSES),
    (Stage.DOT, 451, LATER, SAME),
    (Stage.DOT, 503, LATER, SAME),
    (Stage.DOT, 500, NEVER, SAME),
    (Stage.DOT, 554, NEVER, SAME),
    (Stage.BDAT, 250, GOT, SAME),
    (Stage.BDAT, 354, LATER, CLOSES),
    (Stage.BDAT, 421, LATER, CLOSES),
    (Stage.BDAT, 451, LATER, SAME),
    (Stage.BDAT, 552, NEVER, SAME),
    (Stage.BDAT, 554, NEVER, SAME),
    (Stage.BDAT, 500, LATER, CLOSES),  # what was offered is not there
    (Stage.BDAT, 502, LATER, CLOSES),
    (Stage.BDAT, 503, LATER, CLOSES),
    (Stage.QUIT, 221, ON, CLOSES),
    (Stage.QUIT, 421, LATER, CLOSES),
)

SCOPES = {
    Scope.CONNECTION: {Stage.BANNER, Stage.EHLO, Stage.STARTTLS, Stage.AUTH, Stage.QUIT},
    Scope.MESSAGE: {Stage.RSET, Stage.MAIL, Stage.DATA, Stage.DOT, Stage.BDAT},
    Scope.RECIPIENT: {Stage.RCPT},
}


class JudgeTests(SynchronousTestCase):
    """One reply at one stage."""

    def test_every_row_of_the_table_holds(self) -> None:
        for stage, code, verdict, closes in TABLE:
            (scope,) = (scope for scope, stages in SCOPES.items() if stage in stages)
            self.assertEqual(judge(reply(f"{code} text"), stage), Judgement(verdict, scope, closes), (stage, code))

    def test_nothing_before_a_message_bounces_one(self) -> None:
        for stage in (Stage.BANNER, Stage.EHLO, Stage.STARTTLS, Stage.AUTH, Stage.RSET, Stage.QUIT):
            for code in range(200, 600):
                self.assertNotEqual(judge(reply(f"{code} x"), stage).verdict, NEVER, (stage, code))

    def test_only_the_end_of_the_message_delivers_it(self) -> None:
        for stage in set(Stage) - {Stage.DOT, Stage.BDAT}:
            for code in range(200, 600):
                self.assertNotEqual(judge(reply(f"{code} x"), stage).verdict, GOT, (stage, code))

    def test_421_always_closes_and_never_bounces(self) -> None:
        for stage in Stage:
            judgement = judge(reply("421 4.3.2 closing"), stage)
            self.assertEqual((judgement.verdict, judgement.closes), (LATER, CLOSES), stage)


class ExcessTests(SynchronousTestCase):
    """Too many recipients, or the fault of this one?"""

    def test_the_enhanced_code_decides_where_there_is_one(self) -> None:
        for text, expected in (
            ("452 4.5.3 too many recipients", Excess.YES),
            ("550 4.5.3 too many recipients", Excess.YES),
            ("452 too many recipients", Excess.MAYBE),
            ("552 too much", Excess.MAYBE),
            ("452 4.2.2 mailbox full", Excess.NO),
            ("552 5.2.2 mailbox full", Excess.NO),
            ("450 busy", Excess.NO),
            ("550 5.1.1 no such user", Excess.NO),
        ):
            self.assertIs(excess(reply(text)), expected, text)
