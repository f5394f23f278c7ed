"""Mail that ends in maildirs: whole files, a file for each recipient, and nothing outside of what the template names."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute

from kumotwist.config.egress import EgressSource, PathSettings
from kumotwist.config.fields import BadValue
from kumotwist.config.path_template import parse_path_template, within_a_name
from kumotwist.config.queues import MaildirDelivery
from kumotwist.delivery.hand_over import Around, hand_over
from kumotwist.delivery.maildir import Maildir, Maildirs, maildir_of, write_file
from kumotwist.egress.path import EgressPath
from kumotwist.egress.site import destination_without_hosts
from kumotwist.mail.message import Message
from tests.delivery.case import CONTENT, DELIVERED, POSTPONED, SessionCase, Supply, message

QUEUE = "campaign:tenant@example.com!route.example"


def queued(*to: str, queue: str = QUEUE, **meta: Any) -> Message:
    made = message(1, *to)
    made.queue = queue
    made.meta.update(meta)
    return made


def template(text: str) -> MaildirDelivery:
    return MaildirDelivery(maildir_path=parse_path_template(text, "/etc/mail/conf.yaml"))


class MaildirCase(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.place = Path(self.mktemp()).resolve()
        self.place.mkdir()
        self.in_thread: Any = execute

    def run_session(self, given: MaildirDelivery, *messages: Message) -> list[Any]:
        return self.finish(*self.begin(given, *messages))

    def begin(self, given: MaildirDelivery, *messages: Message) -> tuple[Supply, "Deferred[None]"]:
        path = EgressPath(
            source=EgressSource(name="unspecified"),
            destination=destination_without_hosts("example.com", given),
            settings=PathSettings(),
        )
        supply = self.supply(*messages, path=path)
        reactor: Any = self.network
        around = Around(reactor=reactor, draw=lambda: 0.5, session_id=lambda: "s-1", stop=self.stop)
        maildirs = Maildirs(in_thread=self.in_thread, seconds=lambda: 1_700_000_000.25, hostname="mta.example")
        session = Deferred.fromCoroutine(hand_over(supply, Maildir(given, maildirs), around))
        self.ended.append(session)
        self.network.run()
        return supply, session

    def files(self) -> list[str]:
        """Those below `new`, relative, without the parts of their names that change."""
        return sorted(str(file.parent.relative_to(self.place)) for file in self.place.rglob("new/*"))


class DeliveryTests(MaildirCase):
    def test_each_recipient_has_a_file_of_its_own(self) -> None:
        given = template(f"{self.place}/{{{{ domain_part }}}}/{{{{local_part}}}}")
        calls = self.run_session(given, queued("a@example.com", "b@example.com"))
        self.assertEqual(self.files(), ["example.com/a/new", "example.com/b/new"])
        contents = [file.read_bytes() for file in self.place.rglob("new/*")]
        self.assertEqual(contents, [CONTENT, CONTENT])
        ((_, _, [(verdict, to, text)]),) = calls[1:]
        self.assertEqual((verdict, to), (DELIVERED, ["a@example.com", "b@example.com"]))
        names = [file.name for file in sorted(self.place.rglob("new/*"))]
        self.assertEqual(
            text, f"200 a@example.com: wrote to maildir with id={names[0]}, b@example.com: wrote to maildir with id={names[1]}"
        )
        for name in names:
            self.assertRegex(name, rf"\A1700000000\.#\d+M250000000P{os.getpid()}V\d+I\d+\.mta\.example,S={len(CONTENT)}\Z")

    def test_records_say_that_it_was_a_maildir(self) -> None:
        given = template(f"{self.place}/all")
        supply, ended = self.begin(given, queued())
        self.finish(supply, ended)
        (attempt,) = supply.attempts
        self.assertEqual((attempt.delivery_protocol, attempt.peer), ("Maildir", None))
        self.assertEqual(attempt.site, f"unspecified->example.com@maildir:{self.place}/all")

    def test_who_cannot_have_one_is_put_off_and_the_others_have_theirs(self) -> None:
        (self.place / "b").write_text("in the way")
        given = template(f"{self.place}/{{{{ local_part }}}}")
        calls = self.run_session(given, queued("a@example.com", "b@example.com"))
        (_, _, [taken, put_off]) = calls[1]
        self.assertEqual(taken[:2], (DELIVERED, ["a@example.com"]))
        self.assertEqual(put_off[:2], (POSTPONED, ["b@example.com"]))
        self.assertTrue(put_off[2].startswith("400 b@example.com: failed to write to maildir: [Errno 20] Not a directory"))

    def test_modes_are_what_the_queue_says_whatever_the_umask(self) -> None:
        given = MaildirDelivery(maildir_path=parse_path_template(f"{self.place}/deep/box", "x"), dir_mode=0o710, file_mode=0o604)
        before = os.umask(0o077)
        try:
            self.run_session(given, queued())
        finally:
            os.umask(before)
        for part in ("deep", "deep/box", "deep/box/new", "deep/box/cur", "deep/box/tmp"):
            self.assertEqual(stat.S_IMODE((self.place / part).stat().st_mode), 0o710, part)
        (file,) = self.place.rglob("new/*")
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o604)

    def test_nothing_is_written_on_the_reactor_s_turn(self) -> None:
        asked: list[Any] = []
        waiting: Deferred[Any] = Deferred()

        def in_thread(call: Any, *arguments: Any) -> "Deferred[Any]":
            asked.append((call, arguments))
            return waiting

        self.in_thread = in_thread
        supply, ended = self.begin(template(f"{self.place}/all"), queued())
        self.assertEqual((self.files(), supply.answered), ([], []))
        (call, arguments) = asked.pop()
        waiting.callback(call(*arguments))
        self.assertEqual(self.files(), ["all/new"])
        self.finish(supply, ended)

    def test_each_step_that_fails_leaves_no_half_message(self) -> None:
        for step in ("open", "fsync", "rename", "fstat"):
            with self.subTest(step):
                self.network = type(self.network)()
                real = getattr(os, step)
                broken: list[Any] = []

                def fail(*arguments: Any, step: str = step, real: Any = real, broken: list[Any] = broken, **keywords: Any) -> Any:
                    if step == "open" and not str(arguments[0]).endswith("mta.example"):
                        return real(*arguments, **keywords)
                    broken.append(arguments)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

                given = template(f"{self.place}/{step}")
                self.run_session(given, queued())
                before = list((self.place / step / "new").iterdir())
                patch = self.patch(os, step, fail)
                calls = self.run_session(given, queued())
                patch.restore()
                self.assertTrue(broken)
                ((_, _, [(verdict, _, text)]),) = calls[1:]
                self.assertEqual(verdict, POSTPONED)
                self.assertIn("No space left on device", text)
                self.assertEqual(list((self.place / step / "new").iterdir()), before)
                self.assertEqual(list((self.place / step / "tmp").iterdir()), [])

    def test_a_file_is_synced_before_it_is_seen_and_its_directory_after(self) -> None:
        steps: list[str] = []

        def noted(name: str, real: Any) -> Any:
            def call(*arguments: Any) -> Any:
                steps.append(name)
                return real(*arguments)

            return call

        for name in ("fsync", "rename"):
            self.patch(os, name, noted(name, getattr(os, name)))
        write_file(f"{self.place}", CONTENT, template("/x"), 0.0, "h")
        self.assertEqual(steps[-3:], ["fsync", "rename", "fsync"])


class TemplateTests(MaildirCase):
    def test_every_place_has_its_part_of_the_message(self) -> None:
        one = queued("Bob@example.com", box="b-1", n=7)
        for place, value in (
            ("queue", QUEUE),
            ("campaign", "campaign"),
            ("tenant", "tenant"),
            ("domain", "example.com"),
            ("routing_domain", "route.example"),
            ("local_part", "Bob"),
            ("domain_part", "example.com"),
            ("email", "Bob@example.com"),
            ("sender_local_part", "sender"),
            ("sender_domain_part", "example.org"),
            ("sender_email", "sender@example.org"),
            ("meta.box", "b-1"),
            ("meta['box']", "b-1"),
            ("meta.n", "7"),
        ):
            given = parse_path_template(f"/var/{{{{ {place} }}}}/x", "f")
            self.assertEqual(maildir_of(given, one, one.recipients[0]), f"/var/{value}/x", place)

    def test_a_relative_name_starts_from_the_file_that_names_it(self) -> None:
        self.assertEqual(parse_path_template("mail/{{ email }}", "/etc/mail/q.toml").pieces, ("/etc/mail/mail/", "email", ""))

    def test_no_value_leads_anywhere_else(self) -> None:
        for value, name in (
            ("..", "%2E."),
            (".", "%2E"),
            ("../../etc", "%2E.%2F..%2Fetc"),
            ("/etc/passwd", "%2Fetc%2Fpasswd"),
            ("a/b", "a%2Fb"),
            ("a%2Fb", "a%252Fb"),
            ("a\x00b\n", "a%00b%0A"),
            ("a..b", "a..b"),
            (".hidden", "%2Ehidden"),
            ("grüße", "grüße"),
        ):
            self.assertEqual(within_a_name(value), name)

    def test_whatever_a_client_names_stays_below_the_directory(self) -> None:
        given = template(f"{self.place}/in/{{{{ meta.x }}}}{{{{ meta.y }}}}/{{{{ local_part }}}}")
        for x, y in (("..", ".."), (".", "."), ("../..", "/"), ("a", "../../../b"), ("/", "/")):
            self.network = type(self.network)()
            self.run_session(given, queued('"../../x"@example.com', x=x, y=y))
        self.assertEqual([one.name for one in self.place.iterdir()], ["in"])
        self.assertEqual({len(Path(file).parts) for file in self.files()}, {4})

    def test_where_the_message_has_nothing_for_a_place_it_waits(self) -> None:
        given = template(f"{self.place}/{{{{ tenant }}}}")
        ((_, _, [(verdict, _, text)]),) = self.run_session(given, queued(queue="example.com"))[1:]
        self.assertEqual((verdict, self.files()), (POSTPONED, []))
        self.assertIn("the message has no tenant", text)

    def test_what_is_no_template(self) -> None:
        for text in ("", "/x/{{ nobody }}", "/x/{{ tenant", "/x/{% if a %}", "/x/{{ meta }}", "/x/{{ tenant | upper }}", "/x\n"):
            with self.assertRaises(BadValue, msg=text):
                parse_path_template(text, "f")
