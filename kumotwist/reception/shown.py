"""Which certificates one client is shown, once those that only the policy knows have been asked for."""

from kumotwist.config.keys import KeyData, KeyEvent, KeySource
from kumotwist.hooks.policy import Policy
from kumotwist.reception.client import Client
from kumotwist.reception.tls import Shown
from kumotwist.reception.waits import Ask


class NoKey(Exception):
    """The policy did not answer a certificate or key.  For the operator."""


async def shown_to(client: Client, policy: Policy, ask: Ask) -> Shown:
    """Raises NoKey, and what asking a policy raises."""

    async def key(source: KeySource | None) -> str | KeyData | None:
        if not isinstance(source, KeyEvent):
            return source
        answer = await ask(policy.first(source.event_name, *source.event_args))
        if isinstance(answer, str):
            answer = answer.encode()
        if not isinstance(answer, bytes):
            raise NoKey(f"{source.event_name} answered no text and no bytes")
        return KeyData(answer)

    settings = client.settings
    return Shown(
        hostname=client.hostname,
        certificate=await key(settings.tls_certificate),
        private_key=await key(settings.tls_private_key),
        client_ca=await key(settings.tls_required_client_ca),
        sni={
            name: (await key(identity.tls_certificate), await key(identity.tls_private_key))
            for name, identity in settings.sni.items()
        },
    )
