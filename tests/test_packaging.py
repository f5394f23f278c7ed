"""
What an installed wheel holds, and that it works without the checkout: the plugin is found, the commands start.

The wheel is built from a copy, without the package index; skipped where pip, setuptools or wheel are missing.
"""

import atexit
import os
import re
import shutil
import smtplib
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Timer

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from kumotwist.cli.main import SUBCOMMANDS

PROJECT = Path(__file__).resolve().parent.parent
PARTS = ("kumotwist", "twisted", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
PATIENCE = 120  # seconds for one build or one start, on a slow machine


@cache
def workshop() -> Path:
    """A directory for the wheel and what is made of it, gone when the tests end."""
    place = Path(tempfile.mkdtemp(prefix="kumotwist-wheel-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


@cache
def wheel() -> Path:
    """The wheel, built as pip builds it."""
    for needed in ("pip", "setuptools", "wheel"):
        if find_spec(needed) is None:
            raise SkipTest(f"{needed} is not installed here")
    source, out = (Path(tempfile.mkdtemp(dir=workshop())) for _ in range(2))
    for part in PARTS:
        if (PROJECT / part).is_dir():
            shutil.copytree(PROJECT / part, source / part, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
        else:
            shutil.copy(PROJECT / part, source / part)
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(out), str(source))
    (built,) = out.glob("*.whl")
    return built


@cache
def installed() -> Path:
    """A directory with the wheel unpacked as pip unpacks it, console scripts and all."""
    target = workshop() / "target"
    _pip("install", "--no-compile", "--target", str(target), str(wheel()))
    return target


def _pip(command: str, *arguments: str) -> None:
    pip = [sys.executable, "-m", "pip", command, "--no-deps", "--no-index", "--disable-pip-version-check", *arguments]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode != 0:
        raise AssertionError(f"pip {command} failed:\n{done.stdout}\n{done.stderr}")


def elsewhere() -> Path:
    """A directory in which nothing of the project lies."""
    place = workshop() / "elsewhere"
    place.mkdir(exist_ok=True)
    return place


def surroundings() -> dict[str, str]:
    """The variables with which an interpreter finds the installed wheel and the packages that it needs."""
    packages = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed()), *packages]), "PYTHONDONTWRITEBYTECODE": "1"}


# -S keeps .pth files away: the checkout, where it is installed editable, must not be seen.
PYTHON = (sys.executable, "-S")


def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the interpreter somewhere else, with the installed wheel, to its end."""
    return subprocess.run(
        [*PYTHON, *arguments],
        cwd=elsewhere(),
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


TWISTD = ("-c", "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()")


class WheelTests(SynchronousTestCase):
    """What the wheel holds."""

    maxDiff = None

    def contents(self) -> set[str]:
        with zipfile.ZipFile(wheel()) as archive:
            return set(archive.namelist())

    def test_it_has_every_module_of_the_package(self) -> None:
        modules = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "kumotwist").rglob("*.py")}
        self.assertGreater(len(modules), 20)
        self.assertEqual(modules - self.contents(), set())

    def test_it_has_the_plugin_and_the_mark_of_typed_packages(self) -> None:
        self.assertIn("twisted/plugins/kumotwist_plugin.py", self.contents())
        self.assertIn("kumotwist/py.typed", self.contents())

    def test_it_has_the_licence(self) -> None:
        self.assertTrue([name for name in self.contents() if name.endswith("/LICENSE")])

    def test_it_has_nothing_else(self) -> None:
        tops = {name.split("/")[0] for name in self.contents()}
        tops = {"METADATA" if top.endswith(".dist-info") else top for top in tops}
        self.assertEqual(tops, {"kumotwist", "twisted", "METADATA"})
        self.assertEqual([name for name in self.contents() if name.startswith("twisted/") and "kumotwist" not in name], [])

    def test_twisteds_own_packages_stay_whole(self) -> None:
        """An __init__.py there would hide Twisted itself behind our directory."""
        self.assertEqual(list((PROJECT / "twisted").rglob("__init__.py")), [])
        self.assertNotIn("twisted/__init__.py", self.contents())
        self.assertNotIn("twisted/plugins/__init__.py", self.contents())


class InstalledTests(SynchronousTestCase):
    """The installed wheel, seen from another directory."""

    maxDiff = None

    def test_the_checkout_is_out_of_sight(self) -> None:
        """Otherwise the other tests of this class would prove nothing."""
        done = python("-c", "import kumotwist; print(kumotwist.__file__)")
        self.assertEqual((done.stdout.strip(), done.stderr), (str(installed() / "kumotwist" / "__init__.py"), ""))

    def test_twistd_lists_the_server_once(self) -> None:
        done = python(*TWISTD, "--help")
        listed = [line for line in done.stdout.splitlines() if line.split()[:1] == ["kumotwist"]]
        self.assertEqual((len(listed), done.returncode), (1, 0), done.stdout + done.stderr)

    def test_twistd_knows_the_servers_options(self) -> None:
        done = python(*TWISTD, "kumotwist", "--help")
        self.assertIn("--config", done.stdout, done.stderr)

    def test_every_command_starts(self) -> None:
        for command in SUBCOMMANDS:
            done = python("-m", "kumotwist", command, "--help")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(f"Usage: kumotwist {command}", done.stdout)

    def test_the_console_script_is_there(self) -> None:
        script = installed() / "bin" / "kumotwist"
        self.assertTrue(os.access(script, os.X_OK))
        self.assertEqual(python(str(script), "--help").returncode, 0)


CONFIG = """\
hostname: mta.example.com
spool: {path: spool, min_free_space: 1, min_free_inodes: 1}
logs: {log_dir: logs, min_free_space: 1, min_free_inodes: 1}
esmtp_listeners:
  - listen: 127.0.0.1:0
routing:
  - set: {queue: "null"}
"""


class ServerTests(SynchronousTestCase):
    """`twistd -n kumotwist --config FILE`, from the wheel."""

    def setUp(self) -> None:
        self.config = elsewhere() / "kumotwist.yaml"
        self.config.write_text(CONFIG, encoding="utf-8")

    def start(self) -> "subprocess.Popen[str]":
        server = subprocess.Popen(
            [*PYTHON, *TWISTD, "-n", "--pidfile", "", "kumotwist", "--config", str(self.config)],
            cwd=elsewhere(),
            env=surroundings(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(self.end, server)
        return server

    def end(self, server: "subprocess.Popen[str]") -> str:
        """Stop it if it runs, and return the rest of what it said."""
        if server.poll() is None:
            server.terminate()
        try:
            return server.communicate(timeout=PATIENCE)[0]
        finally:
            server.kill()

    def port(self, server: "subprocess.Popen[str]") -> int:
        """The port that it says it listens on; ends it if it does not say so in time."""
        assert server.stdout is not None
        patience = Timer(PATIENCE, server.kill)
        patience.start()
        said = []
        try:
            for line in server.stdout:
                said.append(line)
                if found := re.search(r"ESMTP listens on 127\.0\.0\.1:([0-9]+)", line):
                    return int(found[1])
        finally:
            patience.cancel()
        raise AssertionError("".join(said))

    def test_it_accepts_a_message_and_ends_when_told(self) -> None:
        server = self.start()
        with smtplib.SMTP("127.0.0.1", self.port(server), timeout=PATIENCE) as client:
            self.assertEqual(client.sendmail("a@example.com", ["b@example.com"], "Subject: hello\r\n\r\nhello\r\n"), {})
        rest = self.end(server)
        self.assertIn("Server Shut Down", rest)  # orderly; the exit code then is the signal's
        self.assertNotIn("Traceback", rest)
        self.assertEqual([path for path in (elsewhere() / "logs").iterdir() if path.stat().st_size == 0], [])
        logs = python("-m", "kumotwist", "logs", "logs")
        self.assertIn("b@example.com", logs.stdout, logs.stderr)

    def test_a_faulty_configuration_ends_it_with_the_faults(self) -> None:
        self.config.write_text("hostnam: mta.example.com\n", encoding="utf-8")
        server = self.start()
        said = server.communicate(timeout=PATIENCE)[0]
        self.assertNotEqual(server.returncode, 0)
        self.assertIn('kumotwist.yaml:1:1: unknown key "hostnam"', said)
        self.assertNotIn("Traceback", said)
