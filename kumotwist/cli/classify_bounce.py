"""`kumotwist classify-bounce`: the class of a response, and the rule that says so."""

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from kumotwist.bounces.classifier import UNCATEGORIZED, Matcher
from kumotwist.config.bounces import BUILTIN, BounceClassifierSettings
from kumotwist.config.given import BadParameters, GivenParameters
from kumotwist.config.read import examine
from kumotwist.mail.reply import Reply, split_enhanced

DEFAULT = f"{BUILTIN}default"


@click.command("classify-bounce")
@click.argument("texts", metavar="TEXT...", nargs=-1)
@click.option("--config", metavar="FILE", help="A server's configuration, whose rules are to be used.")
@click.option("--rules", metavar="FILE", multiple=True, help=f"Rules instead, repeatable; without any, {DEFAULT}.")
def classify_bounce(texts: tuple[str, ...], config: str | None, rules: tuple[str, ...]) -> None:
    """
    Print the class of each response TEXT, such as "550 5.1.1 no such user", and the pattern that was found in it.

    `-` as the only TEXT reads responses from standard input, one a line.  A reply of several lines may be given as it was said
    (`550-5.1.1 no` and so on); it is joined as in the log.

    Exit status: 0 if a rule fits every response; 1 if none fits one of them; 2 if configuration or command are wrong.
    """
    if config is not None and rules:
        raise click.UsageError("--config names rules; leave out --rules")
    if not texts:
        raise click.UsageError("a response is needed, or - for standard input")
    matcher = Matcher(_settings(config, rules).rules)
    lines: Iterable[str] = texts
    if texts == ("-",):
        lines = filter(None, (line.strip() for line in sys.stdin))
    unmatched = 0
    for line in map(on_one_line, lines):
        rule = matcher.first(line)
        unmatched += rule is None
        click.echo(f"{UNCATEGORIZED}" if rule is None else f"{rule.label}  {rule.pattern}")
    sys.exit(1 if unmatched else 0)


def on_one_line(text: str) -> str:
    """A reply as the log has it on one line: `CODE [C.S.D ]text`, with what leads each further line taken away."""
    first, *further = text.replace("\r", "").split("\n")
    code, separator, rest = first[:3], first[3:4], first[4:]
    if not code.isdigit() or len(code) < 3 or (separator and separator not in " -"):
        return " ".join([first, *further])
    enhanced, words = split_enhanced(rest)
    told = [words]
    for line in further:
        line = line[4:] if line.startswith(code) else line
        told.append(split_enhanced(line)[1] if enhanced else line)
    return Reply(int(code), enhanced, " ".join(told)).single_line


def _settings(config: str | None, rules: tuple[str, ...]) -> BounceClassifierSettings:
    if config is None:
        files = [one if one.startswith(BUILTIN) else str(Path(one).absolute()) for one in rules or (DEFAULT,)]
        try:
            return GivenParameters("--rules", {"files": files}).bounce_classifier()
        except BadParameters as fault:
            raise click.UsageError(str(fault)) from None
    found = examine(config)
    if found.config is None:
        click.echo("\n".join(map(str, found.faults)), err=True)
        sys.exit(2)
    if not found.config.bounce_classifier.rules:
        raise click.UsageError(f"{config} has no rules: section bounce_classifier is missing, or its files are empty")
    return found.config.bounce_classifier
