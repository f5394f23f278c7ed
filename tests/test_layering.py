"""
The shape of the code, kept by test: who may import whom, what stays pure, where time and chance come from, how long things get.

The ladder is told in docs/flow.md and docs/decisions/0001-layout-by-stage.md.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PROJECT = Path(__file__).resolve().parent.parent
ROOT = PROJECT / "kumotwist"

# Each may import what stands to its left.  `kumotwist/__main__.py` only starts `cli` and stands outside.
LADDER = (
    *("mail", "config", "metrics", "smtp", "egress", "bounces", "reports", "authentication"),  # the words of mail, pure decisions
    *("transport", "dns", "hooks"),  # the ground
    *("spool", "logs", "custody", "suppression"),  # what is durable
    *("delivery", "ready", "scheduled", "books", "reception", "injection"),  # the stages; a message goes from right to left
    *("publishing", "automation", "api"),  # what reads the log, and who asks
    *("kumo", "cli", "reload", "systemd", "outermost", "service"),
)
PURE = {"mail", "config", "metrics", "smtp", "egress", "bounces", "reports", "authentication"}

# The modules that may read a clock or draw chance themselves, each with its reason.  All others are given both.
OWN_CLOCK = {
    "outermost.py": "what stands for the machine: the system's chance is one of its pieces",
}
OWN_CLOCK_PACKAGES = {
    "cli": "programs of their own: they measure and show wall time, and have no server whose clock they could share",
}

# A pure module may still not wait or ask the machine; these names are how a module would come by time or chance on its own.
CLOCKS = {
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.monotonic_ns",
    "time.perf_counter",
    "time.perf_counter_ns",
    "time.sleep",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "uuid.uuid1",
    "uuid.uuid4",
    "os.urandom",
}
CHANCE = {"random", "secrets"}  # any name from these modules

VAGUE = {
    "handler",
    "handlers",
    "manager",
    "processor",
    "engine",
    "helper",
    "helpers",
    "util",
    "utils",
    "data",
    "info",
    "common",
    "misc",
}
LONGEST_FUNCTION = 60
LONGEST_FILE = 500


class Source:
    """One module as text and tree.  unit: the rung of the ladder that it stands on."""

    def __init__(self, place: str, text: str) -> None:
        """place: the path below `kumotwist/`."""
        self.place = place
        self.unit = place.split("/")[0].removesuffix(".py")
        self.text = text
        self.tree = ast.parse(text)

    def imports(self, *, at_load: bool = False) -> Iterator[str]:
        """The dotted name of each thing imported; `at_load` leaves out what only happens inside a function."""
        for node in _outside_functions(self.tree) if at_load else ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)

    def names_used(self) -> Iterator[str]:
        """Each name and attribute that the code reads, with the names of imports put in full: `time.monotonic`."""
        imported: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                imported.update((alias.asname or alias.name, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                imported.update((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name | ast.Attribute) and (dotted := _dotted(node)):
                first, dot, rest = dotted.partition(".")
                if first in imported:
                    yield imported[first] + dot + rest

    def functions(self) -> Iterator[tuple[str, int]]:
        """Name and length in lines of each function and method."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name, (node.end_lineno or 0) - node.lineno + 1


def _outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not _for_types_only(node):
            yield node
            yield from _outside_functions(node)


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and (_dotted(node.test) or "").endswith("TYPE_CHECKING")


def _dotted(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := _dotted(node.value)):
        return f"{left}.{node.attr}"
    return None


@cache
def modules() -> tuple[Source, ...]:
    return tuple(Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py")))


def climbing(source: Source) -> list[str]:
    """Imports of something further right on the ladder, or of something that is not on it."""
    if source.unit.startswith("__"):
        return []
    rung = LADDER.index(source.unit)
    ours = [name for name in source.imports() if name.startswith(("kumotwist.", "."))]
    return [name for name in ours if name.startswith(".") or not _at_or_below(name.split(".")[1], rung)]


def _at_or_below(unit: str, rung: int) -> bool:
    return unit.startswith("__") or (unit in LADDER and LADDER.index(unit) <= rung)


def impure(source: Source) -> list[str]:
    """In a pure package: imports of Twisted, and of packages of ours that are not pure."""
    if source.unit not in PURE:
        return []
    return [
        name
        for name in source.imports()
        if name.split(".")[0] in ("twisted", "zope")
        or (name.startswith("kumotwist.") and name.split(".")[1] not in PURE and not name.startswith("kumotwist.__"))
    ]


def own_clocks(source: Source) -> list[str]:
    """Where the module takes time or chance itself."""
    return sorted({name for name in source.names_used() if name in CLOCKS or (name.split(".")[0] in CHANCE and "." in name)})


class LadderTests(SynchronousTestCase):
    """Imports point the way the mail flows."""

    maxDiff = None

    def test_every_package_and_module_stands_on_the_ladder(self) -> None:
        units = {source.unit for source in modules() if not source.unit.startswith("__")}
        self.assertEqual(units - set(LADDER), set())

    def test_imports_only_go_down_the_ladder(self) -> None:
        self.assertEqual([(source.place, name) for source in modules() for name in climbing(source)], [])

    def test_pure_packages_know_neither_twisted_nor_impure_ones(self) -> None:
        self.assertEqual([(source.place, name) for source in modules() for name in impure(source)], [])

    def test_an_import_up_the_ladder_would_be_caught(self) -> None:
        upward = Source("ready/queue.py", "from kumotwist.scheduled.wheel import Wheel\nfrom kumotwist.mail import message\n")
        self.assertEqual(climbing(upward), ["kumotwist.scheduled.wheel.Wheel"])
        self.assertEqual(climbing(Source("mail/reply.py", "def f():\n    import kumotwist.service\n")), ["kumotwist.service"])
        self.assertEqual(climbing(Source("mail/reply.py", "from . import address\n")), ["..address"])
        self.assertEqual(climbing(Source("mail/reply.py", "from kumotwist.attic import box\n")), ["kumotwist.attic.box"])

    def test_twisted_in_a_pure_package_would_be_caught(self) -> None:
        self.assertEqual(impure(Source("smtp/dotted.py", "from twisted.python import log\n")), ["twisted.python.log"])
        self.assertEqual(impure(Source("egress/x.py", "from kumotwist.dns import hosts\n")), ["kumotwist.dns.hosts"])
        self.assertEqual(impure(Source("dns/hosts.py", "from twisted.python import log\n")), [])


class ReactorTests(SynchronousTestCase):
    """The operator chooses the reactor, so nobody may import it before the operator's choice is made."""

    maxDiff = None

    def test_only_the_composition_root_and_programs_import_the_reactor(self) -> None:
        users = {source.unit for source in modules() if "twisted.internet.reactor" in source.imports()}
        self.assertLessEqual(users, {"service", "cli"})

    def test_nobody_imports_the_reactor_when_loaded(self) -> None:
        eager = [source.place for source in modules() if "twisted.internet.reactor" in source.imports(at_load=True)]
        self.assertEqual(eager, [])

    def test_a_reactor_imported_at_load_would_be_caught(self) -> None:
        stray = "try:\n    from twisted.internet import reactor\nexcept ImportError:\n    pass\n"
        self.assertIn("twisted.internet.reactor", Source("dns/x.py", stray).imports(at_load=True))
        inside = "class A:\n    def go(self):\n        from twisted.internet import reactor\n"
        self.assertNotIn("twisted.internet.reactor", Source("dns/x.py", inside).imports(at_load=True))

    def test_loading_every_module_installs_no_reactor(self) -> None:
        """Also not through something that we import."""
        names = [
            "kumotwist." + source.place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for source in modules()
            if not source.unit.startswith("__")
        ]
        program = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
        program += "print('twisted.internet.reactor' in sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", program, *names], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual((done.stdout.strip(), done.stderr), ("False", ""))


class GivenTimeTests(SynchronousTestCase):
    """Time and chance are parameters (design, invariant 7)."""

    maxDiff = None

    def test_no_module_reads_a_clock_or_draws_chance_on_its_own(self) -> None:
        found = {
            source.place: own_clocks(source)
            for source in modules()
            if source.place not in OWN_CLOCK and source.unit not in OWN_CLOCK_PACKAGES and own_clocks(source)
        }
        self.assertEqual(found, {})

    def test_every_exception_is_still_needed(self) -> None:
        needed = {source.place for source in modules() if own_clocks(source)}
        self.assertEqual(set(OWN_CLOCK) - needed, set())
        self.assertEqual({unit for unit in OWN_CLOCK_PACKAGES if not any(place.startswith(unit + "/") for place in needed)}, set())

    def test_each_way_to_the_clock_would_be_caught(self) -> None:
        table = {
            "import time\nnow = time.time()\n": ["time.time"],
            "from time import monotonic\nnow = monotonic()\n": ["time.monotonic"],
            "from time import time as clock\nnow = clock()\n": ["time.time"],
            "def f(seconds=None):\n    import time\n    return seconds or time.time\n": ["time.time"],
            "import random\nx = random.random()\n": ["random.random"],
            "from random import Random\nx = Random().random\n": ["random.Random"],
            "from datetime import datetime, UTC\nx = datetime.now(UTC)\n": ["datetime.datetime.now"],
            "import datetime\nx = datetime.datetime.now()\n": ["datetime.datetime.now"],
            "from datetime import datetime\nx = datetime.fromtimestamp(0)\n": [],
            "def f(clock, random):\n    return clock.seconds() + random.random()\n": [],
        }
        for text, found in table.items():
            self.assertEqual(own_clocks(Source("ready/x.py", text)), found, text)


class ShapeTests(SynchronousTestCase):
    """A function fits a glance, a module is one noun, and each says what it is for."""

    maxDiff = None

    def test_no_function_is_longer_than_a_page(self) -> None:
        long = [
            f"{source.place}: {name} has {length} lines"
            for source in [*modules(), Source("run.py", (PROJECT / "run.py").read_text(encoding="utf-8"))]
            for name, length in source.functions()
            if length > LONGEST_FUNCTION
        ]
        self.assertEqual(long, [])

    def test_no_file_holds_more_than_one_idea_can_need(self) -> None:
        long = [source.place for source in modules() if source.text.count("\n") > LONGEST_FILE]
        self.assertEqual(long, [])

    def test_every_package_and_module_says_what_it_is_for(self) -> None:
        self.assertEqual([source.place for source in modules() if not ast.get_docstring(source.tree)], [])

    def test_every_package_has_an_init_file(self) -> None:
        """Without one it would be a namespace: the wheel would carry it, but nothing would say what it is for."""
        packages = {path.parent for path in ROOT.rglob("*.py")}
        self.assertEqual([package.name for package in packages if not (package / "__init__.py").exists()], [])

    def test_packages_only_say_what_they_are_and_hand_on_names(self) -> None:
        busy = []
        for source in modules():
            if source.place.endswith("/__init__.py"):
                _docstring, *rest = source.tree.body
                busy += [source.place for node in rest if not _hands_on_names(node)]
        self.assertEqual(busy, [])

    def test_packages_are_flat(self) -> None:
        self.assertEqual([source.place for source in modules() if source.place.count("/") > 1], [])

    def test_names_of_modules_are_words_of_mail(self) -> None:
        vague = [source.place for source in modules() if VAGUE & set(Path(source.place).stem.split("_"))]
        self.assertEqual(vague, [])

    def test_nothing_is_left_unfinished(self) -> None:
        marks = ("TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error")
        self.assertEqual([(source.place, mark) for source in modules() for mark in marks if mark in source.text], [])


def _hands_on_names(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)
    return isinstance(node, ast.ImportFrom)
