"""The page about the command line is true."""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.main import SUBCOMMANDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command-line.md"
COMMON = {"--endpoint", "--credentials", "--ca-file", "--json"}
ASKING = [
    *(
        "audit",
        "abort-ready-q-conn",
        "bounce",
        "bounce-cancel",
        "bounce-list",
        "inspect-message",
        "inspect-ready-q",
        "inspect-sched-q",
    ),
    *("provider-summary", "queue-summary", "rebind", "resolve-egress-path", "set-log-filter", "spool-compact", "suppress"),
    *("suppress-cancel", "suppress-list", "suspend", "suspend-cancel", "suspend-list", "suspend-ready-q", "suspend-ready-q-cancel"),
    *("suspend-ready-q-list", "top", "trace-smtp-client", "trace-smtp-server", "xfer", "xfer-cancel"),
]


class CommandLinePageTests(SynchronousTestCase):
    """`docs/command-line.md`."""

    def setUp(self) -> None:
        self.text = PAGE.read_text(encoding="utf-8")

    def part_of(self, name: str) -> str:
        """The sections that speak of a command."""
        sections = self.text.split("\n## ")[1:]
        return "\n".join(section for section in sections if re.search(rf"(`|    kumotwist ){re.escape(name)}[ `\n]", section))

    def test_every_command_has_an_example_or_a_word(self) -> None:
        self.assertEqual([name for name in (*ASKING, "completion", "man") if not self.part_of(name)], [])

    def test_every_option_of_every_command_is_told_where_the_command_is(self) -> None:
        lost = []
        for name in ASKING:
            part = self.part_of(name) + (self.text.split("\n## ")[1])
            for parameter in SUBCOMMANDS[name].load().params:
                options = [one for one in parameter.opts if one.startswith("--")]
                if options and not any(f"`{option}" in part or f" {option} " in part for option in options):
                    lost.append((name, options))
        self.assertEqual(lost, [])

    def test_no_option_is_told_that_no_command_has(self) -> None:
        known = {
            option for name in (*ASKING, "man", "completion") for one in SUBCOMMANDS[name].load().params for option in one.opts
        }
        self.assertEqual(set(re.findall(r"`(--[a-z-]+)", self.text)) - known - {"--help"}, set())

    def test_what_asks_a_server_has_the_common_options(self) -> None:
        for name in ASKING:
            options = {option for one in SUBCOMMANDS[name].load().params for option in one.opts}
            self.assertEqual(COMMON - options, {"--json"} if name == "top" else set(), name)

    def test_every_section_stands_in_the_list(self) -> None:
        headings = re.findall(r"^## (.+)$", self.text, re.MULTILINE)
        self.assertEqual(re.findall(r"^- \[(.+?)\]\(#", self.text, re.MULTILINE), headings)
