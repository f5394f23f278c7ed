"""Files whose records have a form of their own: templates, and what segments begin with."""

import os
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.server import LogSettings, RecordSettings
from kumotwist.logs.files import LogFiles
from kumotwist.logs.form import Forms
from kumotwist.logs.read import LogReader

NOON = 1_785_844_800.0


def line(kind: str, number: int, **facts: Any) -> bytes:
    return msgspec.json.encode({"type": kind, "id": f"m{number}", "recipient": "ann@example.net", "timestamp": int(NOON), **facts})


class FormTests(SynchronousTestCase):
    def forms(self, **templates: str | None) -> Forms:
        self.said: list[str] = []
        return Forms({kind: RecordSettings(template=text) for kind, text in templates.items()}, self.said.append)

    def test_fields_are_variables_and_the_record_is_one(self) -> None:
        forms = self.forms(Any="{{ id }} {{ log_record.recipient }} {{ nothing.at.all }}|{{ response.code }}")
        self.assertEqual(forms.shown("Bounce", line("Bounce", 1, response={"code": 550})), b"m1 ann@example.net |550")

    def test_a_type_with_an_entry_has_nothing_from_any(self) -> None:
        forms = self.forms(Any="any", Bounce=None, Delivery="delivered\n")
        shown = [forms.shown(kind, line(kind, 1))[:9] for kind in ("Reception", "Bounce", "Delivery")]
        self.assertEqual(shown, [b"any", b'{"type":"', b"delivered"])

    def test_a_value_begins_no_line_of_its_own(self) -> None:
        forms = self.forms(Any="a {{ id }}\nb {{ meta.x }} {{ log_record | tojson }}")
        shown = forms.shown("Bounce", line("Bounce", 1, meta={"x": "1\n2\r\x003\u20284"}))
        self.assertEqual(shown.count(b"\n"), 1)
        self.assertIn(b"b 1 2  3 4 {", shown)
        self.assertNotIn(b"\0", shown)

    def test_a_template_that_fails_costs_no_record_and_is_told_once(self) -> None:
        forms = self.forms(Any="{{ id + 1 }}")
        for _ in range(2):
            self.assertEqual(forms.shown("Bounce", line("Bounce", 1)), line("Bounce", 1))
        self.assertEqual(len(self.said), 1)
        self.assertIn("the template for Bounce fails", self.said[0])


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        self.journal: dict[int, bytes] = {}

    def files(self, **per_record: RecordSettings) -> LogFiles:
        settings = LogSettings(log_dir=self.directory, compression="none", per_record=per_record)
        files = LogFiles(
            settings, lambda: NOON, lambda after: sorted(one for one in self.journal.items() if one[0] > after), lambda *_: None
        )
        files.start(sorted(self.journal.items()))
        files.tend()
        return files

    def commit(self, files: LogFiles, first: int, *kinds: str) -> None:
        records = [(number, kind, line(kind, number)) for number, kind in enumerate(kinds, first)]
        self.journal.update((number, text) for number, _, text in records)
        files.write(records)

    def texts(self) -> list[str]:
        return [Path(self.directory, name).read_text() for name in sorted(os.listdir(self.directory))]

    def test_each_segment_begins_with_the_header(self) -> None:
        csv = RecordSettings(suffix=".csv", template="{{ id }},{{ type }}", segment_header="id,type")
        for first in (1, 3):
            self.journal.clear()
            files = self.files(Delivery=csv)
            self.commit(files, first, "Delivery", "Delivery")
            files.close()
        self.assertEqual(self.texts(), ["id,type\nm1,Delivery\nm2,Delivery\n", "id,type\nm3,Delivery\nm4,Delivery\n"])

    def test_after_a_crash_nothing_is_written_twice_or_missing(self) -> None:
        for template in ("{{ id }}", "{{ id }}\nsecond line of {{ id }}\n"):
            self.directory = os.path.abspath(self.mktemp())
            self.journal.clear()
            form = RecordSettings(template=template, segment_header="head\nof two lines\n")
            files = self.files(Any=form)
            self.commit(files, 1, "Delivery", "Bounce", "Delivery")
            files.abandon()  # as if the process had gone: the journal still has all of it
            self.journal[4] = line("Bounce", 4)
            files = self.files(Any=form)
            files.tend()
            files.close()
            whole = "".join(text.removeprefix("head\nof two lines\n") for text in self.texts())
            expected = "".join(template.replace("{{ id }}", f"m{n}").removesuffix("\n") + "\n" for n in (1, 2, 3, 4))
            self.assertEqual(whole, expected)

    def test_types_without_a_template_stay_readable(self) -> None:
        files = self.files(Delivery=RecordSettings(suffix=".csv", template="{{ id }}"))
        self.commit(files, 1, "Delivery", "Bounce")
        files.close()
        (plain,) = [name for name in os.listdir(self.directory) if not name.endswith(".csv")]
        reader = LogReader(os.path.join(self.directory, plain), complain=lambda path, fault: self.fail(fault))
        self.assertEqual(list(reader.lines()), [line("Bounce", 2)])
