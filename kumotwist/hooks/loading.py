"""Policy files → a `Policy`, or everything that is wrong with any of them, with file and line."""

import os
import traceback
import weakref
from collections.abc import Collection, Iterable, Sequence

from twisted.internet.interfaces import IReactorTime

from kumotwist.config.faults import ConfigFaults, Fault
from kumotwist.hooks.context import Services, entered
from kumotwist.hooks.modules import PolicyModules, forget
from kumotwist.hooks.policy import Policy
from kumotwist.hooks.registration import REGISTRY, Registry


class PolicyFault(Fault, frozen=True, gc=False):
    """One thing that is wrong with a policy.  Python knows the line, not the column."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


def load_policy(
    paths: Iterable[str | os.PathLike[str]], clock: IReactorTime, services: Services, *, own_events: Collection[str] = ()
) -> Policy:
    """
    The policy of these files, in their order.  Raises ConfigFaults with all faults of all files.

    Each loading makes new modules: nothing of an earlier one is reused.  services: what the policy finds around it from now
    on; its `files` grows by all that was read.  own_events: events that the configuration names (`{event_name: …}`).
    """
    registry = Registry(own_events)
    modules = PolicyModules()
    faults: list[PolicyFault] = []
    token = REGISTRY.set(registry)
    try:
        with entered(services):
            for path in paths:
                faults += _load(os.path.abspath(os.fspath(path)), modules, registry)
    finally:
        REGISTRY.reset(token)
        registry.close()
        services.files.update(modules.files)
    if faults:
        forget(modules.names)
        raise ConfigFaults(tuple(faults))
    policy = Policy({event: tuple(handlers) for event, handlers in registry.handlers.items()}, clock, services)
    weakref.finalize(policy, forget, modules.names).atexit = False
    return policy


def _load(file: str, modules: PolicyModules, registry: Registry) -> list[PolicyFault]:
    """Load one file; what is wrong with it, by line."""
    before = len(registry.faults)
    faults = []
    try:
        modules.execute(file)
    except OSError as fault:
        if fault.filename == file and fault.errno:
            return [PolicyFault(file, 1, 0, f"cannot be read: {os.strerror(fault.errno)}")]
        faults.append(fault_of(fault, [file, *modules.files]))
    except (Exception, SystemExit) as fault:  # noqa: BLE001  whatever a policy does, it becomes one fault of its file
        faults.append(fault_of(fault, [file, *modules.files]))
    noted = [PolicyFault(where, line, 0, what) for where, line, what in registry.faults[before:]]
    return sorted(noted + faults, key=lambda one: (one.file != file, one.file, one.line))


def fault_of(fault: BaseException, files: Sequence[str]) -> PolicyFault:
    """
    An exception of a policy as one fault: in the innermost line of its files that led there.

    files: the policy's, the one that is blamed where none of them is in the traceback first.
    """
    if isinstance(fault, SyntaxError) and fault.filename and fault.filename in files:
        return PolicyFault(fault.filename, fault.lineno or 1, 0, f"not Python: {fault.msg}")
    known = set(files)
    frames = [frame for frame in traceback.extract_tb(fault.__traceback__) if frame.filename in known]
    file, line = (frames[-1].filename, frames[-1].lineno or 1) if frames else (files[0], 1)
    return PolicyFault(file, line, 0, described(fault))


def described(fault: BaseException) -> str:
    """What an exception says, on one line."""
    text = " ".join(str(fault).split())
    if isinstance(fault, ImportError):
        return f"cannot import: {text}"
    if isinstance(fault, SystemExit):
        return "ends the process, expected a policy that loads"
    name = type(fault).__name__
    return f"{name}: {text}" if text else name
