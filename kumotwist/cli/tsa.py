"""`kumotwist tsa`: the shared automation daemon.  Nodes tell it what receivers answer; all of them hear what follows."""

import os
from typing import Any

import click

from kumotwist.config.faults import ConfigFaults
from kumotwist.config.read import read_config
from kumotwist.config.server import Config

KEEP = 5.0  # seconds between two writings of what is known


@click.command()
@click.option("--config", "path", required=True, type=click.Path(), metavar="FILE", help="The YAML file with rules and listeners.")
def tsa(path: str) -> None:
    """
    React together: take the log records of many nodes, and tell all of them what the rules of shaping make of it.

    FILE is a configuration as the server has it; of it `shaping`, `http_listeners`, `access_control`, `dns` and `spool` count.
    What is known is kept in the spool's directory, in tsa.state.  Ends on SIGINT or SIGTERM; POST bump-config-epoch has
    the rules read again.
    """
    try:
        config = read_config(path)
    except ConfigFaults as faults:
        click.echo(str(faults), err=True)
        raise SystemExit(2) from None
    if not config.http_listeners:
        raise click.ClickException(f"{path}: http_listeners is missing: nobody could publish or subscribe")
    from twisted.internet import reactor

    Daemon(config, path, reactor).run()


class Daemon:
    """One daemon, from its start to its end."""

    def __init__(self, config: Config, path: str, reactor: Any) -> None:
        from kumotwist.api.tsa import SharedAutomation, value_as_toml
        from kumotwist.automation.board import Board
        from kumotwist.automation.rules import RuleBook
        from kumotwist.dns.resolver import Resolver

        self._config = config
        self._path = path
        self._reactor = reactor
        self._resolver = Resolver(config.dns, reactor)
        self._book = RuleBook(config.shaping)
        self._board = Board(value_as_toml)
        self._state = os.path.join(config.spool.path, "tsa.state")
        self._rollup = self._new_rollup(config)
        self._shared = SharedAutomation(reactor, self._board, self._resolver, lambda: self._book, lambda: self._rollup.sites)

    def _new_rollup(self, config: Config) -> Any:
        from kumotwist.dns.rollup import Rollup

        rolled_up = [domain for domain, rule in config.shaping.rules.items() if rule.mx_rollup and domain != "default"]
        return Rollup(rolled_up, self._resolver, self._reactor, lambda: None)

    def run(self) -> None:
        """Until a signal comes."""
        self._restore()
        self._rollup.start()
        self._listen()
        self._keep_now_and_then()
        self._reactor.run()
        self._keep()

    def _listen(self) -> None:
        import random

        from twisted.internet.threads import deferToThread

        from kumotwist.api.access import finder
        from kumotwist.api.endpoint import Endpoint, Endpoints
        from kumotwist.api.login import Doors
        from kumotwist.api.service import HttpListener
        from kumotwist.api.tsa import ACCESS
        from kumotwist.api.web import Web
        from kumotwist.hooks.policy import Policy
        from kumotwist.reception.service import CannotListen
        from kumotwist.reception.tls import Certificates

        reactor, policy = self._reactor, Policy({}, self._reactor)
        bump = Endpoint(
            method="POST", path="/api/admin/bump-config-epoch", summary="Read the rules again", tag="config", run=self._read_again
        )
        web = Web(
            clock=reactor,
            endpoints=Endpoints((*self._shared.endpoints(), bump)),
            doors=Doors(reactor, lambda: policy, random.SystemRandom().randbytes(32)),
            policy=lambda: policy,
            find_rules=lambda: finder({**ACCESS, **self._config.access_control}),
            hostname=lambda: self._config.hostname,
            in_thread=deferToThread,
        )
        for settings in self._config.http_listeners:
            listener = HttpListener(settings, web, Certificates(reactor), reactor, lambda key: None)
            try:
                listener.startService()
            except CannotListen as fault:
                raise click.ClickException(str(fault)) from None
            host, port = listener.address
            click.echo(f"tsa: listening on {f'[{host}]' if ':' in host else host}:{port}")

    async def _read_again(self, call: Any) -> Any:
        from twisted.internet.threads import deferToThread

        from kumotwist.api.endpoint import Problem, text
        from kumotwist.automation.rules import RuleBook

        try:
            config = await deferToThread(read_config, self._path)
        except ConfigFaults as faults:
            raise Problem(422, str(faults)) from None
        self._book = await deferToThread(RuleBook, config.shaping)
        self._config = config
        self._rollup.stop()
        self._rollup = self._new_rollup(config)
        self._rollup.start()
        return text("OK")

    # What is known

    def _restore(self) -> None:
        from msgspec import DecodeError

        os.makedirs(self._config.spool.path, mode=0o750, exist_ok=True)
        try:
            with open(self._state, "rb") as file:
                self._board.restore(file.read())
        except FileNotFoundError:
            pass
        except DecodeError as fault:
            click.echo(f"tsa: {self._state} is no state of ours: {fault}; it will be written anew", err=True)

    def _keep_now_and_then(self) -> None:
        from twisted.internet.threads import deferToThread

        def keep() -> None:
            kept = deferToThread(self._write, self._board.state(self._reactor.seconds()))
            kept.addErrback(lambda failure: click.echo(f"tsa: {self._state}: {failure.getErrorMessage()}", err=True))
            kept.addBoth(lambda _: self._reactor.callLater(KEEP, keep))

        self._reactor.callLater(KEEP, keep)

    def _keep(self) -> None:
        self._write(self._board.state(self._reactor.seconds()))

    def _write(self, state: bytes) -> None:
        """Whole or not at all: under another name first."""
        new = f"{self._state}.new"
        with open(new, "wb") as file:
            file.write(state)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._state)
