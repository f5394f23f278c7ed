"""What the policy says of one client's parameters (smtp_server_get_dynamic_parameters)."""

from kumotwist.config.dynamic import EVENT, parse_listener_overrides
from kumotwist.config.listeners import ListenerOverrides
from kumotwist.hooks.connection import ConnMeta
from kumotwist.hooks.policy import Policy
from kumotwist.reception.waits import Ask


async def dynamic_parameters(policy: Policy, listen: str, conn_meta: ConnMeta, ask: Ask) -> ListenerOverrides | None:
    """
    What is laid over the listener's own for this client; None: nothing.  Raises Refusal, HookFailed, BadParameters.

    listen: the listener as configured.  Names of files start from the file of the handler that answers.
    """
    for handler in policy.handlers(EVENT):
        answer = await ask(policy.of(EVENT, handler, listen, conn_meta))
        if answer is not None:
            return parse_listener_overrides(answer, handler.place.rpartition(":")[0])
    return None
