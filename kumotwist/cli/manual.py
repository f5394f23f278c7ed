"""`kumotwist man`: the manual page, made of the commands' own help, so that it is never older than they are."""

from collections.abc import Callable, Iterator

import click

from kumotwist import __version__
from kumotwist.cli.main import SUBCOMMANDS

# Options of every command that asks a server, told once.
_COMMON = ("--endpoint", "--credentials", "--ca-file")
_ENVIRONMENT = (
    ("KUMOTWIST_ENDPOINT", "the server's HTTP address, for the commands that ask one; else http://127.0.0.1:8000"),
    ("KUMOTWIST_USER, KUMOTWIST_PASSWORD", "who asks"),
    ("NO_COLOR", "set to anything: no colours"),
)
_STATUS = (
    ("0", "it is done"),
    ("1", "the server refused, or you did"),
    ("2", "the command or a configuration is wrong"),
    ("3", "there is no server at that address"),
)


@click.command("man")
def man() -> None:
    """
    Print the manual page.

    `kumotwist man | man -l -` shows it; `kumotwist man > /usr/local/share/man/man1/kumotwist.1` installs it.
    """
    click.echo("\n".join(page()))


def page() -> Iterator[str]:
    """In the language of man pages, line by line."""
    yield f'.TH KUMOTWIST 1 "" "KumoTwist {__version__}" "User Commands"'
    yield from (".SH NAME", "kumotwist \\- run, watch and operate an outbound mail server")
    yield from (".SH SYNOPSIS", ".B kumotwist", "[\\-\\-endpoint URL] SUBCOMMAND [OPTIONS]")
    yield from (".SH DESCRIPTION", "The server itself is started with", '.BR "twistd kumotwist \\-\\-config FILE" .')
    yield ".SH SUBCOMMANDS"
    for name in sorted(SUBCOMMANDS):
        yield from _subcommand(name, SUBCOMMANDS[name].load())
    yield from (".SH OPTIONS OF ALL COMMANDS THAT ASK A SERVER",)
    yield from _options(SUBCOMMANDS["audit"].load(), lambda option: option in _COMMON)
    for heading, entries in (("ENVIRONMENT", _ENVIRONMENT), ("EXIT STATUS", _STATUS)):
        yield f".SH {heading}"
        for term, told in entries:
            yield from (".TP", f".B {roff(term)}", roff(told))


def _subcommand(name: str, command: click.Command) -> Iterator[str]:
    with click.Context(command, info_name=name) as context:
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        yield from (f".SS {roff(usage)}",)
        for paragraph in (command.help or "").split("\n\n"):
            yield from (".PP", roff(" ".join(paragraph.split())))
    yield from _options(command, lambda option: option not in (*_COMMON, "--help"))


def _options(command: click.Command, wanted: Callable[[str], bool]) -> Iterator[str]:
    with click.Context(command) as context:
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None and record[1] and wanted(parameter.opts[0]):
                yield from (".TP", f".B {roff(record[0])}", roff(record[1]))


def roff(text: str) -> str:
    """A line of text that has no meaning to the formatter."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text
