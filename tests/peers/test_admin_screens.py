"""What moves on the screen: `top`, summaries that are watched, traces; and what is said where there is no server."""

import signal

from tests.peers.support import wait_until
from tests.peers.terminal import CommandLineTestCase


class TopTests(CommandLineTestCase):
    def test_it_survives_a_resize_a_restart_of_the_server_and_ends_with_ctrl_c(self) -> None:
        terminal = self.terminal
        self.send("later.example", 6)
        self.wait_for_scheduled("later.example", 6)
        terminal.begin("kumotwist top --update-interval 0.2")
        self.see_value("Scheduled", "6")
        terminal.resize(70, 12)
        screen = terminal.see("[Time series]", "Delivered/s", "more below")
        self.assertLessEqual(max(map(len, screen.splitlines())), 70)
        self.assertEqual(screen.splitlines()[0].split()[:2], ["[Time", "series]"])
        terminal.resize(120, 40)
        terminal.see("Rejections/s")
        self.mta.signal(signal.SIGTERM)
        self.mta.wait()
        terminal.see("nobody answers at", "Delivered/s")
        self.mta.start()
        wait_until(lambda: "nobody answers" not in terminal.screen(), "the server is there again")
        self.see_value("Scheduled", "6")
        terminal.press("Tab")
        terminal.see("[Heat maps]")
        terminal.press("Tab")
        terminal.see("[Help]", "leave")
        terminal.press("C-c")
        self.assertEqual(terminal.end()[0], 0)
        self.assertIn("seen", terminal.run("echo seen"))  # the terminal is as it was

    def see_value(self, label: str, value: str) -> None:
        def look() -> bool:
            return any(line.split()[-2:] == [value, label] for line in self.terminal.screen().splitlines())

        wait_until(look, f"top shows {label} {value}:\n{self.terminal.screen()}", patience=45)

    def test_lines_are_filtered_by_letters_and_q_leaves(self) -> None:
        terminal = self.terminal
        terminal.begin("kumotwist top")
        terminal.see("Transfail/s", "Memory")
        terminal.write("fmem")
        terminal.see("filter: mem_", "Memory")
        self.assertNotIn("Transfail/s", terminal.screen())
        terminal.press("Enter", "q")
        self.assertEqual(terminal.end()[0], 0)

    def test_a_summary_is_watched(self) -> None:
        terminal = self.terminal
        terminal.begin("kumotwist queue-summary --watch 0.2")
        terminal.see("SCHEDULED QUEUE")
        self.send("later.example", 2)
        terminal.see("later.example", " 2")
        terminal.press("C-c")
        self.assertEqual(terminal.end()[0], 0)


class TraceTests(CommandLineTestCase):
    def test_the_dialogues_of_both_sides_are_shown(self) -> None:
        for command, theirs in (
            ("trace-smtp-server", ("-> MAIL FROM:<sender@traffic.example>", "<- 221", "=== Closed")),
            ("trace-smtp-client", ("<- 250 2.0.0 Ok", "-> MAIL FROM:<sender@traffic.example>", "-> RCPT TO:<")),
        ):
            self.terminal.begin(f"kumotwist {command} --terse > {command}.txt")
            # The WebSocket needs a moment, which nothing on the screen shows: mail comes until it was seen.
            told = self.terminal.place / f"{command}.txt"

            def mail_was_seen() -> bool:
                self.send("good.example", 1)
                return told.exists() and all(words in told.read_text() for words in theirs)  # noqa: B023  asked at once

            wait_until(mail_was_seen, f"{command} shows {theirs}", every=0.5)
            self.terminal.press("C-c")
            self.assertEqual(self.terminal.end()[0], 0)
            self.assertRegex(told.read_text(), r"(?m)^\[[^\]]+\] +\d+\.\d (->|<-|===) ")


class AbsenceTests(CommandLineTestCase):
    def test_where_there_is_no_server_it_is_said_with_status_3(self) -> None:
        self.mta.stop()
        for command in ("queue-summary", "suspend-list", "trace-smtp-server", "bounce --everything --reason x"):
            self.terminal.begin(f"kumotwist {command}")
            status, said = self.terminal.end()
            self.assertEqual((status, "Is the server running" in said, "KUMOTWIST_ENDPOINT" in said), (3, True, True), said)
