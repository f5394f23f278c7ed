"""
What `pre_init` and `init` handlers define: listeners, the spool, the mail log; each adds to what the configuration says.

Nothing is started here.  The handlers run once after the policy is loaded, and what they called for is handed to whoever
builds the server.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Unpack

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from kumotwist.config.faults import ConfigFaults
from kumotwist.config.fields import parse_listen
from kumotwist.config.listeners import ListenerSettings
from kumotwist.config.server import Config, LogSettings, SpoolSettings
from kumotwist.hooks.context import entered
from kumotwist.hooks.loading import PolicyFault, fault_of
from kumotwist.hooks.parameters import ListenerParameters, LogParameters, SpoolParameters
from kumotwist.hooks.policy import Handler, Policy
from kumotwist.hooks.registration import calling_place
from kumotwist.hooks.settings import given_parameters


class NotInInit(RuntimeError):
    """Something that belongs into a handler of `init` was called elsewhere."""


class Definitions(Struct, frozen=True, kw_only=True):
    """
    What the handlers called for.

    esmtp_listeners: whole.  spool, logs: only the parameters that were named, which go before those of the configuration.
    """

    esmtp_listeners: tuple[ListenerSettings, ...] = ()
    spool: Mapping[str, Any] = {}
    logs: Mapping[str, Any] = {}

    def over(self, config: Config) -> Config:
        """The configuration with what the policy adds to it."""
        return replace(
            config,
            esmtp_listeners=(*config.esmtp_listeners, *self.esmtp_listeners),
            spool=replace(config.spool, **self.spool),
            logs=replace(config.logs, **self.logs),
        )


class _Collected:
    """The definitions while handlers run.  Places are those of the calls."""

    def __init__(self, taken: Mapping[str, str]) -> None:
        """taken: `ip:port` that listeners of the configuration have, and where that is said."""
        self.listeners: list[ListenerSettings] = []
        self.taken = dict(taken)
        self.sections: dict[str, tuple[dict[str, Any], str]] = {}

    def listen(self, listener: ListenerSettings, place: str) -> None:
        """Raises ValueError where two listeners want one address."""
        first = self.taken.get(listener.listen)
        self.taken.setdefault(listener.listen, place)
        if first is not None and parse_listen(listener.listen)[1]:
            raise ValueError(f'start_esmtp_listener: listen "{listener.listen}" is taken by the listener of {first}')
        self.listeners.append(listener)

    def define(self, of: str, named: dict[str, Any], place: str) -> None:
        """Raises ValueError where it was defined before."""
        if of in self.sections:
            raise ValueError(f"{of}: called a second time, first at {self.sections[of][1]}")
        self.sections[of] = (named, place)

    def definitions(self) -> Definitions:
        spool, _ = self.sections.get("define_spool", ({}, ""))
        logs, _ = self.sections.get("configure_local_logs", ({}, ""))
        return Definitions(esmtp_listeners=tuple(self.listeners), spool=spool, logs=logs)


_COLLECTED: ContextVar[_Collected | None] = ContextVar("kumotwist policy definitions", default=None)


def run_init(policy: Policy, config: Config | None = None) -> "Deferred[Definitions]":
    """
    Run the handlers of `pre_init`, then those of `init`, one after the other; fires with what they defined.

    It has fired already where no handler waits for anything.  config: with whose listeners theirs must not collide.
    Fails with ConfigFaults, one fault for each handler that broke.
    """
    taken = {listener.listen: "the configuration" for listener in config.esmtp_listeners} if config is not None else {}
    return Deferred.fromCoroutine(_run(policy, _Collected(taken)))


async def _run(policy: Policy, collected: _Collected) -> Definitions:
    # A coroutine has a context of its own, so what is set here is seen by the handlers and by nobody else.
    _COLLECTED.set(collected)
    faults: list[PolicyFault] = []
    with entered(policy.services):
        for handler in (*policy.handlers("pre_init"), *policy.handlers("init")):
            try:
                answer = handler.call()
                if hasattr(answer, "__await__"):
                    await answer
            except (Exception, SystemExit) as fault:  # noqa: BLE001  whatever a policy does, it becomes one fault of its file
                faults.append(fault_of(fault, _files_of(policy, handler)))
    if faults:
        raise ConfigFaults(tuple(faults))
    return collected.definitions()


def _files_of(policy: Policy, handler: Handler) -> list[str]:
    """The files that may be to blame, that of the handler first."""
    others = policy.services.files if policy.services is not None else ()
    return [handler.place.rpartition(":")[0], *others]


def _collected(of: str) -> _Collected:
    collected = _COLLECTED.get()
    if collected is None:
        raise NotInInit(f'kumo.{of}: only a handler of init can call it, as in @kumo.on("init")')
    return collected


def _place() -> str:
    file, line = calling_place()
    return f"{file}:{line}"


# --- what handlers call ----------------------------------------------------------------------------------------------


def start_esmtp_listener(given: Mapping[str, Any] | None = None, /, **parameters: Unpack[ListenerParameters]) -> None:
    """Accept mail at another address.  Raises BadParameters, and ValueError for an address that is taken."""
    collected = _collected("start_esmtp_listener")
    listener = given_parameters("start_esmtp_listener", given, parameters).listener()
    collected.listen(listener, _place())


def define_spool(given: Mapping[str, Any] | None = None, /, **parameters: Unpack[SpoolParameters]) -> None:
    """Where accepted messages are kept: the parameters of section `spool`.  Raises BadParameters."""
    collected = _collected("define_spool")
    named = given_parameters("define_spool", given, parameters).named(SpoolSettings)
    collected.define("define_spool", named, _place())


def configure_local_logs(given: Mapping[str, Any] | None = None, /, **parameters: Unpack[LogParameters]) -> None:
    """Where and what the mail log is written: the parameters of section `logs`.  Raises BadParameters."""
    collected = _collected("configure_local_logs")
    named = given_parameters("configure_local_logs", given, parameters).named(LogSettings)
    collected.define("configure_local_logs", named, _place())
