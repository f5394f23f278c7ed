"""Every dialogue in tests/dialogues, played three ways through the real wire and conversation."""

from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.reception.dialogue import WAYS, Dialogue, Played

DIALOGUES = Path(__file__).parent.parent / "dialogues"


class DialogueTests(SynchronousTestCase):
    """One test for each file and way."""

    def test_there_are_dialogues(self) -> None:
        self.assertGreater(len(list(DIALOGUES.glob("*.smtp"))), 40)


def _test(dialogue: Dialogue, way: str) -> Callable[[DialogueTests], None]:
    def test(self: DialogueTests) -> None:
        self.assertEqual(Played(dialogue, way).play(), [])
        if dialogue.head.get("logs_failure"):
            self.assertNotEqual(self.flushLoggedErrors(), [])

    return test


for _path in sorted(DIALOGUES.glob("*.smtp")):
    _dialogue = Dialogue(_path)
    for _way in WAYS:
        if _way in _dialogue.ways:
            setattr(DialogueTests, f"test_{_dialogue.name}_{_way}", _test(_dialogue, _way))
