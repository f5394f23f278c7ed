"""`kumotwist completion`: what makes a shell complete the commands, their options and values.  The scripts are click's."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_KUMOTWIST_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """
    Print a script for SHELL that completes these commands.

    bash: `eval "$(kumotwist completion bash)"` in ~/.bashrc; zsh: the same in ~/.zshrc; fish: `kumotwist completion fish >
    ~/.config/fish/completions/kumotwist.fish`.
    """
    from kumotwist.cli.main import main

    kind = get_completion_class(shell)
    assert kind is not None, shell
    click.echo(kind(main, {}, "kumotwist", VARIABLE).source())
