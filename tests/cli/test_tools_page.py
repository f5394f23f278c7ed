"""The page about these tools is true."""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.main import SUBCOMMANDS
from kumotwist.cli.sink_behaviour import load_behaviour
from kumotwist.config.faults import ConfigFaults

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tools.md"


class ToolsPageTests(SynchronousTestCase):
    """`docs/tools.md`."""

    def setUp(self) -> None:
        self.text = PAGE.read_text(encoding="utf-8")

    def behaviour(self) -> str:
        (found,) = re.findall(r"^```yaml sites\.yaml\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)
        return str(found)

    def test_its_behaviour_file_is_valid(self) -> None:
        path = Path(self.mktemp())
        path.write_text(self.behaviour())
        self.assertEqual(set(load_behaviour(str(path)).domains), {"gmail.com", "slow.example", "late.example"})

    def test_its_example_of_a_fault_is_what_is_said(self) -> None:
        Path("sites.yaml").write_text("default: {delay: 0}\ndomains:\n  gmail.com: {defer: {share: many}}\n")
        faults = self.assertRaises(ConfigFaults, load_behaviour, "sites.yaml")
        self.assertIn(str(faults), self.text)

    def test_every_option_is_told_once(self) -> None:
        for name, heading in (("demo", "The demo"), ("sink", "A sink"), ("traffic-gen", "A load")):
            part = self.text.split(f"\n## {heading}")[1].split("\n## ")[0]
            told = re.findall(r"`(--[a-z-]+)", "".join(line for line in part.splitlines() if line.startswith("|")))
            command = SUBCOMMANDS[name].load()
            known = {(*one.opts, *one.secondary_opts)[-1] for one in command.params if not getattr(one, "hidden", False)}
            self.assertEqual(sorted(set(told)), sorted(known), name)
