"""What a command writes: for a person at a terminal, or for a program that reads a pipe."""

import os
import shutil
import sys
from collections.abc import Iterable
from typing import IO

import click


def width() -> int | None:
    """Columns that a line may take; None: nobody looks at it, so nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def coloured() -> bool:
    """https://no-color.org is kept."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def say(lines: Iterable[str]) -> None:
    """Lines on standard output."""
    text = "\n".join(lines)
    if text:
        click.echo(text)


def answered(answer: bytes) -> None:
    """An answer of the API as it is, with an end of line behind it."""
    out: IO[bytes] = sys.stdout.buffer
    out.write(answer if answer.endswith(b"\n") else answer + b"\n")
    out.flush()


def escaped(text: str) -> str:
    """What came from outside must not steer the terminal: what cannot be printed is shown as its code."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
