"""
What the commands have in common that ask a running server: where it is, who asks, and how the answer is shown.

Exit statuses of all of them: 0, it is done; 1, the server refused, or the user did; 2, the command is wrong; 3, there is no
server.
"""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from kumotwist.cli.api import Api, Credentials
from kumotwist.cli.quantity import parse_duration

DEFAULT_ENDPOINT = "http://127.0.0.1:8000"
ENDPOINT_VARIABLE = "KUMOTWIST_ENDPOINT"
USER_VARIABLE, PASSWORD_VARIABLE = "KUMOTWIST_USER", "KUMOTWIST_PASSWORD"

Command = Callable[..., Any]

as_json = click.option("--json", "as_json", is_flag=True, help="Print the API's answer as it is.")


def asks(command: Command) -> Command:
    """The options by which a command finds its server; the command gets it as `api`, its first argument."""

    @click.option("--endpoint", metavar="URL", help=f"The server's HTTP address (${ENDPOINT_VARIABLE}, else {DEFAULT_ENDPOINT}).")
    @click.option(
        "--credentials", metavar="FILE", help=f"A file with user:password in it (or ${USER_VARIABLE} and ${PASSWORD_VARIABLE})."
    )
    @click.option("--ca-file", metavar="FILE", help="Whom to trust where the address is https://; else the system's authorities.")
    @wraps(command)
    def asking(*, endpoint: str | None, credentials: str | None, ca_file: str | None, **options: Any) -> Any:
        found = endpoint_of(click.get_current_context(), endpoint)
        return command(Api(found, find_credentials(credentials), ca_file), **options)

    return asking


def endpoint_of(ctx: click.Context, given: str | None) -> str:
    """The option, that before the command's name, as kcli has it, the environment, the default."""
    return given or ctx.find_root().params.get("endpoint") or os.environ.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT


def find_credentials(file: str | None) -> Credentials | None:
    """Those of a file, else of the environment; None: there are none.  Raises click.UsageError."""
    if file is None:
        user = os.environ.get(USER_VARIABLE)
        return Credentials(user, os.environ.get(PASSWORD_VARIABLE, "")) if user else None
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise click.UsageError(f"--credentials {file}: {getattr(fault, 'strerror', None) or 'it is not text'}") from None
    user, colon, password = text.partition("\n")[0].rstrip("\r").partition(":")
    if not colon or not user:
        raise click.UsageError(f"--credentials {file}: expected a line user:password")
    return Credentials(user, password)


def duration_text(text: str) -> str:
    """A duration as it was typed: the server reads it in the same way.  Raises ValueError."""
    parse_duration(text)
    return text
