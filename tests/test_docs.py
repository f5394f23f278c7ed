"""The documentation is true: names in it exist, links lead somewhere, commands can be typed, configurations are valid."""

import json
import re
import time
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import click
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Struct
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.main import SUBCOMMANDS
from kumotwist.cli.sink_tls import self_signed
from kumotwist.config.faults import ConfigFaults
from kumotwist.config.read import read_config
from kumotwist.mail.schedule import parse_schedule
from tests.test_layering import LADDER

PROJECT = Path(__file__).resolve().parent.parent
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
GUIDE = PROJECT / "docs" / "configuration.md"
FLOW = PROJECT / "docs" / "flow.md"

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
_CODE = re.compile(r"`([^`\n]+)`")
_NAME = re.compile(r"[a-z_]\w*(?:\.\w+)+\Z")
_PATH = re.compile(r"[\w\-][\w.\-]*/[\w.\-/]*\Z|[\w\-]+\.py\Z")  # with a slash in it, or the name of a module


class Snippet(Struct, frozen=True):
    """A fenced block.  kind: what stands after the three backticks."""

    page: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(PROJECT)}:{self.line}"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def snippets(page: Path) -> Iterator[Snippet]:
    text = text_of(page)
    for found in _FENCE.finditer(text):
        yield Snippet(page, text.count("\n", 0, found.start()) + 1, found[1].strip(), found[2])


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text_of(page))


def code_spans(page: Path) -> Iterator[str]:
    yield from (found[1] for found in _CODE.finditer(prose(page)))


def names(page: Path) -> Iterator[str]:
    """The names of our code on a page: `stage.module.function`, perhaps with brackets behind."""
    for span in code_spans(page):
        name = span.split("(")[0].removeprefix("kumotwist.")
        if _NAME.match(name) and not name.endswith(".py") and name.split(".")[0] in LADDER:
            yield name


def exists(name: str) -> bool:
    """Whether this is a module of ours, or something in one: a class, a function, a method, a field."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(["kumotwist", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


def path_exists(span: str) -> bool:
    """Whether a path that begins with a folder of ours, or a module's bare name, is there; True for what is not ours to tell."""
    top, slash, _ = span.partition("/")
    if not slash:
        return (PROJECT / span).exists() or any((PROJECT / "kumotwist").rglob(span))
    if top in LADDER:
        return (PROJECT / "kumotwist" / span).exists()
    return (PROJECT / span).exists() or not (PROJECT / top).exists()


def options_of(command: click.Command) -> set[str]:
    return {"--help", *(option for parameter in command.params for option in parameter.opts)}


def command_lines(page: Path, program: str) -> Iterator[list[str]]:
    """The words after `program` in indented lines, fenced blocks and code spans that begin with it."""
    lines = [line.strip() for line in text_of(page).splitlines() if line.startswith("    ")]
    for line in [*lines, *code_spans(page)]:
        if line.startswith(program + " "):
            yield line.split("#")[0].removeprefix(program).split()


class NameTests(SynchronousTestCase):
    """Names of the code, in every page but the guide to the configuration, where dots join other things."""

    maxDiff = None

    def test_every_name_of_the_code_exists(self) -> None:
        lost = [(page.name, name) for page in PAGES if page != GUIDE for name in names(page) if not exists(name)]
        self.assertEqual(lost, [])

    def test_the_flow_names_every_stage(self) -> None:
        named = {name.split(".")[0] for name in names(FLOW)}
        here = {unit for unit in LADDER if exists(unit)}
        self.assertEqual(here - {"cli", "config"} - named, set())
        self.assertGreater(len(set(names(FLOW))), 40)

    def test_a_name_that_is_gone_would_be_noticed(self) -> None:
        self.assertTrue(exists("mail.reply.Reply.encode"))
        self.assertFalse(exists("mail.reply.Answer"))
        self.assertFalse(exists("mail.reply.Reply.decode"))
        self.assertFalse(exists("post.office"))

    def test_every_path_of_the_project_exists(self) -> None:
        lost = [(page.name, span) for page in PAGES for span in code_spans(page) if _PATH.match(span) and not path_exists(span)]
        self.assertEqual(lost, [])

    def test_a_path_that_is_gone_would_be_noticed(self) -> None:
        for span in ("run.py", "custody.py", "record.py", "logs/record.py", "kumotwist/logs/record.py", "tests/"):
            self.assertTrue(path_exists(span), span)
        for span in ("walk.py", "logs/reply.py", "kumotwist/reply.py", "tests/gone/"):
            self.assertFalse(path_exists(span), span)

    def test_the_ladder_is_told_as_it_is(self) -> None:
        told = [page.name for page in PAGES if "    " + "  ".join(LADDER) + "\n" in text_of(page)]
        self.assertEqual(told, ["0001-layout-by-stage.md", "development.md"])


class LinkTests(SynchronousTestCase):
    """Links between the pages."""

    maxDiff = None

    def test_every_link_leads_somewhere(self) -> None:
        lost = []
        for page in PAGES:
            for target, anchor in _LINK.findall(prose(page)):
                if target.startswith(("http:", "https:")):
                    continue
                goal = (page.parent / target).resolve() if target else page
                if not goal.exists() or (anchor and anchor not in anchors(goal)):
                    lost.append((page.name, target, anchor))
        self.assertEqual(lost, [])

    def test_every_page_stands_in_the_index(self) -> None:
        index = text_of(PROJECT / "docs" / "index.md")
        lost = [page.name for page in (PROJECT / "docs").glob("*.md") if page.name != "index.md" and f"({page.name})" not in index]
        self.assertEqual(lost, [])

    def test_every_decision_stands_in_the_index_and_has_its_four_parts(self) -> None:
        index = text_of(PROJECT / "docs" / "index.md")
        for page in sorted((PROJECT / "docs" / "decisions").glob("*.md")):
            self.assertIn(f"(decisions/{page.name})", index)
            for part in ("**Question.**", "**Choice.**", "**Other options.**", "**Price.**"):
                self.assertIn(part, text_of(page), page.name)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as they are made where the pages are shown."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings)


class CommandTests(SynchronousTestCase):
    """What the pages tell a person to type."""

    maxDiff = None

    def test_the_gate_runs_the_commands_of_the_readme(self) -> None:
        typed = [" ".join(words) for words in command_lines(PROJECT / "README.md", "python3 run.py")]
        self.assertEqual(typed, ["demo --messages 500 --exit", "test"])
        gate = text_of(PROJECT / ".ci" / "run")
        for words in typed:
            self.assertIn(f"python3 run.py {words}", gate)

    def test_every_subcommand_and_option_exists(self) -> None:
        wrong = []
        for page in PAGES:
            for program in ("kumotwist", "python3 run.py python -m kumotwist"):
                for subcommand, *rest in command_lines(page, program):
                    if subcommand.isupper() or subcommand.startswith("-"):
                        continue
                    known = options_of(SUBCOMMANDS[subcommand].load()) if subcommand in SUBCOMMANDS else set()
                    given = {word for word in rest if word.startswith("--")}
                    if subcommand not in SUBCOMMANDS or given - known:
                        wrong.append((page.name, subcommand, sorted(given - known)))
        self.assertEqual(wrong, [])

    def test_every_subcommand_is_told_in_the_readme_or_on_the_page_that_it_leads_to(self) -> None:
        pages = (PROJECT / "README.md", PROJECT / "docs" / "command-line.md")
        told = {words[0] for page in pages for words in command_lines(page, "kumotwist")}
        self.assertEqual(set(SUBCOMMANDS) - told, set())


class ConfigurationTests(SynchronousTestCase):
    """Every piece of configuration in the pages is read by the reader of configurations."""

    maxDiff = None

    def setUp(self) -> None:
        self.place = Path(self.mktemp()).resolve()
        self.place.mkdir(parents=True)
        key, certificate = self_signed("mail.example.com", time.time())
        for name in ("cert.pem", "trusted.pem"):
            (self.place / name).write_bytes(certificate.public_bytes(Encoding.PEM))
        (self.place / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def faults(self, text: str) -> list[str]:
        """What is wrong with this text as `kumotwist.yaml`, without the directory."""
        file = self.place / "kumotwist.yaml"
        file.write_text(text, encoding="utf-8")
        try:
            read_config(str(file))
        except ConfigFaults as found:
            return [str(fault).replace(f"{self.place}/", "") for fault in found.faults]
        return []

    def test_every_snippet_is_a_valid_configuration(self) -> None:
        wrong, valid = [], 0
        for page in PAGES:
            for snippet in snippets(page):
                _, _, title = snippet.kind.partition(" ")
                if title.endswith((".toml", ".json", ".yaml")):
                    (self.place / title).write_text(snippet.text, encoding="utf-8")
                elif snippet.kind == "yaml":
                    found = self.faults(snippet.text)
                    wrong += [f"{snippet}: {fault}" for fault in found]
                    valid += not found
        self.assertEqual(wrong, [])
        self.assertGreater(valid, 15)

    def test_every_faulty_snippet_has_the_faults_that_the_page_shows(self) -> None:
        shown = 0
        for page in PAGES:
            blocks = list(snippets(page))
            for snippet, answer in pairwise(blocks):
                if snippet.kind == "yaml faulty":
                    self.assertEqual(answer.kind, "text faults", str(answer))
                    self.assertEqual("\n".join(self.faults(snippet.text)) + "\n", answer.text, str(answer))
                    shown += 1
        self.assertGreater(shown, 0)

    def test_every_scheduling_header_is_valid(self) -> None:
        headers = [snippet for snippet in snippets(GUIDE) if snippet.kind == "json"]
        self.assertEqual([parse_schedule(json.loads(header.text)).first_attempt is None for header in headers], [False])

    def test_every_section_has_its_place_in_the_guide(self) -> None:
        sections = {"esmtp_listeners", "listener_domains", "egress", "queues", "routing", "shaping", "spool", "logs", "dns", "tls"}
        shown = set(re.findall(r"^([a-z_]+):", "".join(s.text for s in snippets(GUIDE) if s.kind == "yaml"), re.MULTILINE))
        self.assertEqual(sections - shown, set())

    def test_every_task_of_the_guide_stands_in_its_list(self) -> None:
        headings = re.findall(r"^## (.+)$", prose(GUIDE), re.MULTILINE)
        listed = re.findall(r"^- \[(.+?)\]\(#", prose(GUIDE), re.MULTILINE)
        self.assertEqual(listed, headings)
