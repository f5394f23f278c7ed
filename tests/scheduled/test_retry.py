"""The model's retry arithmetic, by tables."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.queues import QueueSettings
from kumotwist.mail.message import Message
from kumotwist.mail.schedule import Schedule
from kumotwist.scheduled.retry import Expired, Retry, after_failure, delay, jitter, while_waiting
from tests.support.memory import Messages

RECEIVED = 1_700_000_000.0
NO_JITTER = 0.5  # the middle of the range


def message(attempts: int = 0, schedule: Schedule | None = None) -> Message:
    made = Messages(lambda: RECEIVED).make()
    made.attempts = attempts
    made.schedule = schedule
    return made


def history(settings: QueueSettings) -> tuple[list[float], Expired]:
    """Ages at which attempts happen when each fails at once, and how it ends."""
    one, now, attempts = message(), RECEIVED, []
    while True:
        attempts.append(now - RECEIVED)
        decision = after_failure(settings, one, now, NO_JITTER)
        if isinstance(decision, Expired):
            return attempts, decision
        now = decision.due
        one.attempts += 1


class RetryTests(SynchronousTestCase):
    def test_the_models_vectors(self) -> None:
        table = [
            (QueueSettings(retry_interval=2.0, max_age=1024.0), [2, 4, 8, 16, 32, 64, 128, 256, 512]),
            (QueueSettings(retry_interval=2.0, max_retry_interval=8.0, max_age=128.0), [2, 4, 8, 8, 8, 8, 8, 8, 8]),
            (QueueSettings(max_age=86400.0), [1200, 2400, 4800, 9600, 19200, 38400]),
        ]
        for settings, waits in table:
            self.assertEqual([delay(settings, n) for n in range(len(waits))], waits)

    def test_with_the_defaults_nine_attempts_in_three_and_a_half_days(self) -> None:
        attempts, end = history(QueueSettings())
        self.assertEqual([round(age / 60) for age in attempts], [0, 20, 60, 140, 300, 620, 1260, 2540, 5100])
        self.assertEqual(end.reply.code, 551)
        self.assertEqual(str(end.reply.enhanced), "5.4.7")
        self.assertIn("after creation, which exceeds max_age=7days", end.reply.text)

    def test_expiry_looks_ahead_instead_of_waiting_the_life_out(self) -> None:
        settings = QueueSettings(retry_interval=600.0, max_age=900.0)
        self.assertEqual(after_failure(settings, message(), RECEIVED, NO_JITTER), Retry(RECEIVED + 600))
        self.assertIsInstance(after_failure(settings, message(1), RECEIVED + 600, NO_JITTER), Expired)

    def test_jitter_comes_from_the_base_interval_whatever_the_wait(self) -> None:
        table = [(1200.0, 0.0, -30), (1200.0, 0.5, 0), (1200.0, 0.999999, 29), (10.0, 0.0, 0), (120.0, 0.0, -3), (120.0, 0.99, 2)]
        for interval, drawn, expected in table:
            self.assertEqual(jitter(QueueSettings(retry_interval=interval), drawn), expected, (interval, drawn))

    def test_thousands_of_attempts_do_not_overflow(self) -> None:
        self.assertIsInstance(after_failure(QueueSettings(), message(60_000), RECEIVED, NO_JITTER), Expired)

    def test_a_constant_interval(self) -> None:
        settings = QueueSettings(retry_interval=60.0, max_retry_interval=60.0, max_age=300.0)
        self.assertEqual(history(settings)[0], [0.0, 60.0, 120.0, 180.0, 240.0, 300.0])

    def test_a_messages_own_expiry_replaces_the_queues_age(self) -> None:
        late = Schedule(expires=RECEIVED + 30 * 86400)
        settings = QueueSettings(max_age=60.0)
        self.assertEqual(after_failure(settings, message(0, late), RECEIVED, NO_JITTER), Retry(RECEIVED + 1200))
        soon = after_failure(settings, message(0, Schedule(expires=RECEIVED + 1199)), RECEIVED, NO_JITTER)
        assert isinstance(soon, Expired)
        self.assertIn("exceeds the expiry time 2023-11-14T22:33:19Z configured via set_scheduling", soon.reply.text)

    def test_waiting_uncounted_ends_with_the_age_too(self) -> None:
        settings = QueueSettings(max_age=3600.0)
        self.assertIsNone(while_waiting(settings, message(), RECEIVED + 3599))
        expired = while_waiting(settings, message(), RECEIVED + 3600)
        assert expired is not None
        self.assertEqual(expired.reply.text, "Next delivery time 1h > 1h")
