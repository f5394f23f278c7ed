"""
What `pre_init` and `init` handlers define: listeners, the spool, the mail log; each adds to what the configuration says.

Nothing is started here.  The handlers run once after the policy is loaded, and what they called for is handed to whoever
builds the server.
"""

import os
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from typing import Any, Unpack

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from kumotwist.config.bounces import BounceClassifierSettings
from kumotwist.config.faults import ConfigFaults
from kumotwist.config.fields import parse_listen
from kumotwist.config.http import HttpListenerSettings
from kumotwist.config.listeners import ListenerSettings
from kumotwist.config.log_hooks import LogHook
from kumotwist.config.read_listeners import overlap
from kumotwist.config.server import Config, LogSettings, SpoolSettings
from kumotwist.hooks.context import SERVICES, entered
from kumotwist.hooks.loading import PolicyFault, fault_of
from kumotwist.hooks.parameters import (
    BounceClassifierParameters,
    HttpListenerParameters,
    ListenerParameters,
    LogHookParameters,
    LogParameters,
    SpoolParameters,
)
from kumotwist.hooks.policy import LONGEST_ANSWER, Handler, HookFailed, Policy
from kumotwist.hooks.registration import calling_place
from kumotwist.hooks.settings import given_parameters


class NotInInit(RuntimeError):
    """Something that belongs into a handler of `init` was called elsewhere."""


class Definitions(Struct, frozen=True, kw_only=True):
    """
    What the handlers called for.

    esmtp_listeners, http_listeners: whole.  spool, logs: only the parameters that were named, which go before those of the
    configuration.
    bounce_classifier: takes the place of the configuration's; None leaves that.
    """

    esmtp_listeners: tuple[ListenerSettings, ...] = ()
    http_listeners: tuple[HttpListenerSettings, ...] = ()
    spool: Mapping[str, Any] = {}
    logs: Mapping[str, Any] = {}
    bounce_classifier: BounceClassifierSettings | None = None
    log_hooks: tuple[LogHook, ...] = ()

    def over(self, config: Config) -> Config:
        """The configuration with what the policy adds to it."""
        return replace(
            config,
            esmtp_listeners=(*config.esmtp_listeners, *self.esmtp_listeners),
            http_listeners=(*config.http_listeners, *self.http_listeners),
            spool=replace(config.spool, **self.spool),
            logs=replace(config.logs, **self.logs),
            bounce_classifier=self.bounce_classifier or config.bounce_classifier,
            log_hooks=(*config.log_hooks, *self.log_hooks),
        )


class _Collected:
    """The definitions while handlers run.  Places are those of the calls."""

    def __init__(self, taken: Mapping[str, str]) -> None:
        """taken: `ip:port` that listeners of the configuration have, and where that is said."""
        self.listeners: list[ListenerSettings] = []
        self.http_listeners: list[HttpListenerSettings] = []
        self.taken = dict(taken)
        self.sections: dict[str, tuple[dict[str, Any], str]] = {}
        self.log_hooks: dict[str, tuple[LogHook, str]] = {}

    def listen(self, listener: ListenerSettings, place: str) -> None:
        """Raises ValueError where two listeners want one address."""
        self._take("start_esmtp_listener", listener.listen, place)
        self.listeners.append(listener)

    def listen_http(self, listener: HttpListenerSettings, place: str) -> None:
        """Raises ValueError where two listeners want one address."""
        self._take("start_http_listener", listener.listen, place)
        self.http_listeners.append(listener)

    def _take(self, of: str, listen: str, place: str) -> None:
        first = self.taken.get(listen)
        self.taken.setdefault(listen, place)
        if first is not None and parse_listen(listen)[1]:
            raise ValueError(f'{of}: listen "{listen}" is taken by the listener of {first}')
        for other, where in self.taken.items():
            if other != listen and parse_listen(listen)[1] and overlap(listen, other):
                raise ValueError(f'{of}: listen "{listen}" and "{other}" of {where} are one address')

    def hook(self, hook: LogHook, place: str) -> None:
        """Raises ValueError where two hooks have one name."""
        if hook.name in self.log_hooks:
            raise ValueError(f'configure_log_hook: "{hook.name}" is the hook of {self.log_hooks[hook.name][1]} already')
        self.log_hooks[hook.name] = (hook, place)

    def define(self, of: str, named: dict[str, Any], place: str) -> None:
        """Raises ValueError where it was defined before."""
        if of in self.sections:
            raise ValueError(f"{of}: called a second time, first at {self.sections[of][1]}")
        self.sections[of] = (named, place)

    def definitions(self) -> Definitions:
        spool, _ = self.sections.get("define_spool", ({}, ""))
        logs, _ = self.sections.get("configure_local_logs", ({}, ""))
        classifier, _ = self.sections.get("configure_bounce_classifier", ({}, ""))
        return Definitions(
            esmtp_listeners=tuple(self.listeners),
            http_listeners=tuple(self.http_listeners),
            spool=spool,
            logs=logs,
            bounce_classifier=classifier.get("whole"),
            log_hooks=tuple(hook for hook, _ in self.log_hooks.values()),
        )


_COLLECTED: ContextVar[_Collected | None] = ContextVar("kumotwist policy definitions", default=None)


def run_init(policy: Policy, config: Config | None = None) -> "Deferred[Definitions]":
    """
    Run the handlers of `pre_init`, then those of `init`, one after the other; fires with what they defined.

    It has fired already where no handler waits for anything.  config: with whose listeners theirs must not collide.
    Fails with ConfigFaults, one fault for each handler that broke.
    """
    taken: dict[str, str] = {}
    if config is not None:
        taken |= {listener.listen: "the configuration" for listener in config.esmtp_listeners}
        taken |= {listener.listen: "the configuration" for listener in config.http_listeners}
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
                    await policy.in_time("init", Deferred.fromCoroutine(_awaited(answer)))
            except HookFailed:
                file, _, line = handler.place.rpartition(":")
                faults.append(PolicyFault(file, int(line), 0, f"did not come to an end within {LONGEST_ANSWER:g} s"))
            except (Exception, SystemExit) as fault:  # noqa: BLE001  whatever a policy does, it becomes one fault of its file
                faults.append(fault_of(fault, _files_of(policy, handler)))
    if faults:
        raise ConfigFaults(tuple(faults))
    return collected.definitions()


async def _awaited(answer: Awaitable[Any]) -> None:
    await answer


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


def start_http_listener(given: Mapping[str, Any] | None = None, /, **parameters: Unpack[HttpListenerParameters]) -> None:
    """Serve the HTTP API at another address.  Raises BadParameters, and ValueError for an address that is taken."""
    collected = _collected("start_http_listener")
    listener = given_parameters("start_http_listener", given, parameters).http_listener()
    collected.listen_http(listener, _place())


def define_spool(given: Mapping[str, Any] | None = None, /, **parameters: Unpack[SpoolParameters]) -> None:
    """Where accepted messages are kept: the parameters of section `spool`.  Raises BadParameters."""
    collected = _collected("define_spool")
    named = given_parameters("define_spool", given, parameters).named(SpoolSettings)
    collected.define("define_spool", named, _place())


def configure_bounce_classifier(
    given: Mapping[str, Any] | None = None, /, **parameters: Unpack[BounceClassifierParameters]
) -> None:
    """Which class a refusal belongs to: the parameters of section `bounce_classifier`.  Raises BadParameters."""
    collected = _collected("configure_bounce_classifier")
    reading = given_parameters("configure_bounce_classifier", given, parameters)
    whole = reading.bounce_classifier()
    around = SERVICES.get()
    if around is not None:
        around.files.update(map(os.path.abspath, reading.files))  # a change of them is a change of the configuration
    collected.define("configure_bounce_classifier", {"whole": whole}, _place())


def configure_log_hook(given: Mapping[str, Any] | None = None, /, **parameters: Unpack[LogHookParameters]) -> None:
    """
    Ask `should_enqueue_log_record` about each log record whether it becomes a message.  name is required.

    What records carry of a message is said by section `logs` (`meta`, `headers`).  Raises BadParameters, and ValueError for a
    name that another hook has.
    """
    collected = _collected("configure_log_hook")
    hook = given_parameters("configure_log_hook", given, parameters).policy_hook()
    collected.hook(hook, _place())


def configure_local_logs(given: Mapping[str, Any] | None = None, /, **parameters: Unpack[LogParameters]) -> None:
    """Where and what the mail log is written: the parameters of section `logs`.  Raises BadParameters."""
    collected = _collected("configure_local_logs")
    named = given_parameters("configure_local_logs", given, parameters).named(LogSettings)
    collected.define("configure_local_logs", named, _place())
