#!/usr/bin/env python3
"""
The way in: `python3 run.py demo` to see the server work, `python3 run.py test` to test it.

It keeps a private virtual environment in `.venv` beside this file and needs nothing but Python itself, so it works on a
fresh machine and where the system's Python is managed by its distribution (PEP 668).  The environment is made once; it is
brought up to date when setup.cfg or pyproject.toml change.

This is also the one place that knows the project's command lines: tox.ini and .ci/run come here, tox with `--here` because
it brings an environment of its own.

An old Python must still be able to read this file and say what it lacks: no syntax newer than Python 3.6.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / "kumotwist.json"  # which Python, which place, which requirements this environment was made for
OLDEST = (3, 11)
NEWER_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")

TRIAL = ["-m", "twisted.trial"]
PARTS = {
    "lint": [["-m", "ruff", "check", "."], ["-m", "ruff", "format", "--check", "."]],
    "types": [["-m", "mypy"]],
    "layering": [[*TRIAL, "tests.test_layering"]],
    "docs": [[*TRIAL, "tests.test_docs"]],
}

USAGE = """\
python3 run.py demo [--messages N] [--exit]     mail through the real server, on this machine only
python3 run.py test [NAMES]                     the tests, or those named (tests.mail)
python3 run.py lint | types | layering | docs   one of the checks
python3 run.py check                            all four of them
python3 run.py python ARGUMENTS                 the environment's Python, for anything else

run.py --here COMMAND uses the Python that runs it and installs nothing."""


class Stop(Exception):
    """What a person must know or do before we can go on."""


def main(arguments: "list[str]") -> int:
    """Run one command; the exit code is that of what it ran, 1 if it could not be run, 2 if it is not one."""
    here = arguments[:1] == ["--here"]
    command, rest = (arguments[1:] if here else arguments)[:1], arguments[2 if here else 1 :]
    if command in ([], ["help"], ["--help"], ["-h"]):
        print(USAGE)
        return 0 if command else 2
    word = command[0]
    if word not in ("demo", "test", "check", "python", *PARTS):
        print(f"run.py: no command {word!r}.\n\n{USAGE}", file=sys.stderr)
        return 2
    try:
        require_python(arguments)
        python = sys.executable if here else prepare("" if word == "demo" else "test")
        return run(python, word, rest)
    except Stop as reason:
        print(f"\n{reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def run(python: str, word: str, rest: "list[str]") -> int:
    if word == "demo":
        return replace_by([python, "-m", "kumotwist", "demo", *rest])
    if word == "python":
        return replace_by([python, *rest])
    if word == "test":
        return run_tests(python, rest)
    return run_checks(python, list(PARTS) if word == "check" else [word], rest)


def surroundings() -> "dict[str, str]":
    """The variables for what we start: none that would mix another Python's packages into the private environment."""
    foreign = ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__")
    return {name: value for name, value in os.environ.items() if name not in foreign}


def replace_by(command: "list[str]") -> int:
    """Become that program, so that Ctrl-C and the exit code are its own."""
    sys.stdout.flush()
    os.execve(command[0], command, surroundings())
    return 127  # never reached; tells the type checker that a return follows


# The environment.


def require_python(arguments: "list[str]") -> None:
    """Raises Stop when this Python is too old, and names one that is not, if the machine has it."""
    if sys.version_info >= OLDEST:
        return
    newer = next((name for name in NEWER_PYTHONS if shutil.which(name) and quietly([name, "--version"]).returncode == 0), None)
    advice = f"This machine has a newer one:\n\n    {newer} run.py {' '.join(arguments)}" if newer else "Please install one."
    version = ".".join(map(str, sys.version_info[:3]))
    raise Stop(f"KumoTwist needs Python {OLDEST[0]}.{OLDEST[1]} or newer; this is Python {version}.\n{advice}")


def prepare(extra: str) -> str:
    """The private environment's Python, with the project in it and, if asked for, what the `extra` lists.  Raises Stop."""
    python = str(ENVIRONMENT / "bin" / "python")
    if is_prepared(extra):
        return python
    with only_one():
        if is_prepared(extra):
            return python  # another run.py did it while we waited
        made_for = read_stamp()
        if not fits_this_python(made_for):
            make_environment()
            made_for = {"python": python_identity(), "place": str(ROOT)}
            write_stamp(made_for)
        extras = sorted({extra, *made_for.get("extras", [])} - {""})
        install(python, extras)
        write_stamp({**made_for, "requirements": requirements(), "extras": extras})
    return python


def is_prepared(extra: str) -> bool:
    stamp = read_stamp()
    return (
        fits_this_python(stamp) and stamp.get("requirements") == requirements() and (not extra or extra in stamp.get("extras", []))
    )


def fits_this_python(stamp: "dict[str, Any]") -> bool:
    """Whether the environment belongs to the Python that runs us and to this place: scripts in it name their own path."""
    return stamp.get("python") == python_identity() and stamp.get("place") == str(ROOT) and works(ENVIRONMENT / "bin" / "python")


def works(python: Path) -> bool:
    """False for a link that leads nowhere any more, as after an upgrade of the system."""
    return os.access(str(python), os.X_OK)


def python_identity() -> str:
    return f"{sys.version.split()[0]} in {sys.base_prefix}"


def requirements() -> str:
    """Changes when what must be installed may have changed."""
    digest = hashlib.sha256()
    for name in ("setup.cfg", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def read_stamp() -> "dict[str, Any]":
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(stamp: "dict[str, Any]") -> None:
    STAMP.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")


class only_one:  # noqa: N801  (reads as a phrase: with only_one())
    """Holds the project's directory, so that two run.py of one moment do not make the same environment."""

    def __enter__(self) -> None:
        import fcntl  # not at the top: an old Python elsewhere must get as far as the message about its age

        if not os.access(str(ROOT), os.W_OK):
            raise Stop(f"Cannot write in {ROOT}, where the private environment belongs.\nCopy the project to a directory of yours.")
        self._directory = os.open(str(ROOT), os.O_RDONLY)
        try:
            fcntl.flock(self._directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another run.py prepares the environment; waiting for it …")
            fcntl.flock(self._directory, fcntl.LOCK_EX)

    def __exit__(self, *exception: object) -> None:
        os.close(self._directory)


def make_environment() -> None:
    """A fresh `.venv` with pip.  Raises Stop with the name of the package that is missing, where one is."""
    say(f"Making a private environment in {ENVIRONMENT.name} (once; Python {sys.version.split()[0]}) …")
    if ENVIRONMENT.exists() and not (ENVIRONMENT / "pyvenv.cfg").exists():
        raise Stop(f"{ENVIRONMENT} is in the way: it is not a virtual environment.  Move it or remove it.")
    whole = quietly([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)])
    if whole.returncode == 0:
        return
    # Debian ships ensurepip apart (python3-venv); its pip, where installed, can fill a bare environment as well.
    bare = quietly([sys.executable, "-m", "venv", "--clear", "--without-pip", str(ENVIRONMENT)])
    if bare.returncode == 0:
        python = str(ENVIRONMENT / "bin" / "python")
        if quietly([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "pip"]).returncode == 0:
            return
    raise Stop(
        f"Python could not make a virtual environment with pip in it.  {missing_package()}\n\nWhat it said:\n{indent(whole.stdout)}"
    )


def missing_package() -> str:
    """What to install so that `python -m venv` works, as well as we can tell."""
    try:
        system = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        system = ""
    if not re.search(r"^ID(_LIKE)?=.*(debian|ubuntu)", system, re.MULTILINE):
        return "Install the package of your system that brings Python's modules `venv` and `ensurepip`."
    distribution_python = os.path.realpath("/usr/bin/python3") == os.path.realpath(sys.executable)
    version = "" if distribution_python else ".".join(map(str, sys.version_info[:2]))
    return f"Install the missing part and type the same again:\n\n    apt install python3{version[1:]}-venv"


def install(python: str, extras: "list[str]") -> None:
    """The project, editable, and all that it needs.  Raises Stop with what pip said."""
    what = "KumoTwist and what it needs" + (", with the tools for testing" if "test" in extras else "")
    say(f"Installing {what} (again only when setup.cfg changes) …")
    target = f".[{','.join(extras)}]" if extras else "."
    command = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    environment = {**surroundings(), "PIP_USER": "0"}  # a `user = true` in pip's settings would defeat the environment
    said = []
    with subprocess.Popen(
        [*command, "--editable", target],
        cwd=str(ROOT),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            said.append(line.rstrip())
            show_progress(line)
    if pip.returncode != 0:
        raise Stop(explain_pip(said))
    say("Ready.")


def show_progress(line: str) -> None:
    """One of pip's lines, if it tells a person that something moves or why it does not."""
    words = line.split()
    if words[:1] == ["Collecting"]:
        say(f"  {re.split('[^A-Za-z0-9._-]', words[1])[0]}")
    elif line.startswith("Installing collected packages"):
        say("  installing them")
    elif "Retrying" in line and "total=4" in line:
        say("  the package index does not answer; pip tries a few times more …")


def explain_pip(said: "list[str]") -> str:
    """A message with the lines that matter of what pip said, and what to do about it."""
    bare = [line.strip() for line in said]
    telling = [line for line in dict.fromkeys(bare) if re.match("(ERROR|error|WARNING: Retrying.*total=0)", line)]
    shown = [line for line in telling if not line.endswith("subprocess-exited-with-error")][-6:] or said[-12:]
    text = "\n".join(said)
    message = f"pip could not install what KumoTwist needs.  It said:\n\n{indent(chr(10).join(shown))}\n\n"
    unreachable = ("Retrying", "Temporary failure in name resolution", "No matching distribution", "ProxyError", "SSLError")
    if "No space left on device" in text:
        return message + "The disk is full."
    if any(sign in text for sign in unreachable):
        return message + (
            "It looks as if this machine cannot reach a package index, or not one that has the package.  pip's own settings\n"
            "apply: PIP_INDEX_URL for another index, PIP_PROXY or HTTPS_PROXY for a proxy, PIP_FIND_LINKS for a directory of\n"
            "wheels.  Then type the same again; what is there already is kept."
        )
    return message + "Then type the same again; what is there already is kept."


def quietly(command: "list[str]") -> "subprocess.CompletedProcess[str]":
    """Run it and keep what it says, both streams in `stdout`."""
    return subprocess.run(
        command,
        env={**surroundings(), "PIP_USER": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def say(line: str) -> None:
    print(line, flush=True)


def indent(text: str) -> str:
    return "\n".join("    " + line for line in text.strip().splitlines())


# Tests and checks.


def run_tests(python: str, rest: "list[str]") -> int:
    """
    Trial over `tests`, or over the names given; at the end one line for people and for CI: `N passed, N failed`.

    One after the other: some tests watch real programs with clocks of their own, which a busy machine would upset, and the
    whole suite takes less than a minute or two anyway.  Who is in a hurry adds `-j N`.
    The exit code is trial's, and 1 where it passed without running a test.
    """
    names = [] if any(argument.startswith("tests") for argument in rest) else ["tests"]
    command = [python, *TRIAL, *rest, *names]
    say("$ " + " ".join(["python", *command[1:]]))
    end = ""
    with subprocess.Popen(command, cwd=str(ROOT), env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as trial:
        assert trial.stdout is not None
        output = trial.stdout.fileno()
        try:
            # By chunks, not lines: a test's name is seen while it runs.
            for chunk in iter(lambda: os.read(output, 65536), b""):
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
                end = (end + chunk.decode("utf-8", "replace"))[-4096:]
        except KeyboardInterrupt:
            trial.wait()
            raise
    passed, failed, skipped = count_tests(end)
    if trial.returncode != 0 and not failed:
        failed = 1
        say("\ntrial ended without saying how many tests failed.")
    if skipped:
        say(f"\n{skipped} skipped; the reasons are above.")
    say(f"\n{passed} passed, {failed} failed")
    return trial.returncode or (0 if passed and not failed else 1)


def count_tests(said: str) -> "tuple[int, int, int]":
    """
    Passed, failed and skipped, from the closing line of trial: `FAILED (skips=1, errors=2, successes=30)`.

    An expected failure counts as passed, an unexpected success as failed.  All are 0 where the line is missing.
    """
    closing = re.findall(r"^(?:PASSED|FAILED) \(([^)]*)\)\s*$", said, re.MULTILINE)
    if not closing:
        return 0, 0, 0
    counts = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", closing[-1])}
    passed = counts.get("successes", 0) + counts.get("expectedFailures", 0)
    failed = sum(counts.get(name, 0) for name in ("failures", "errors", "unexpectedSuccesses"))
    return passed, failed, counts.get("skips", 0)


def run_checks(python: str, parts: "list[str]", rest: "list[str]") -> int:
    """Each of the parts, all of them even if one fails; 0 if all are fine."""
    wrong = []
    for part in parts:
        for command in PARTS[part]:
            say("$ " + " ".join(["python", *command, *rest]))
            code = subprocess.run([python, *command, *rest], cwd=str(ROOT), env=surroundings(), check=False).returncode
            if code != 0 and part not in wrong:
                wrong.append(part)
    say(f"\nNot in order: {', '.join(wrong)}." if wrong else f"\nIn order: {', '.join(parts)}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
