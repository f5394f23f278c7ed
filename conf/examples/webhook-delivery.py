"""
Mail for one domain is posted to a web server, one request a message, instead of being sent to a host.

The server's answer becomes the message's: what it takes is delivered, what it refuses for good (4xx) bounces, all else is tried
again later, as it is where the server cannot be reached.
"""

import treq
from twisted.internet.error import ConnectError
from twisted.web.client import ResponseFailed

from kumotwist import kumo

URL = "http://127.0.0.1:8080/mail"


@kumo.on("get_queue_config")
def queue_config(domain: str) -> kumo.QueueConfig | None:
    if domain != "example.com":
        return None
    return kumo.make_queue_config(protocol={"custom_lua": {"constructor": "make.webhook"}}, retry_interval="5 minutes")


@kumo.constructor("make.webhook")
class Webhook:
    """One for each session; what it keeps, it has for the next message too."""

    def __init__(self, domain: str, tenant: str | None) -> None:
        self.headers: dict[str | bytes, str | bytes] = {
            "Content-Type": "message/rfc822",
            "X-Domain": domain,
            "X-Tenant": tenant or "",
        }

    async def send(self, message: kumo.Message) -> str:
        headers = {**self.headers, "X-Sender": message.sender.email, "X-Recipient": message.recipient.email}
        try:
            response = await treq.post(URL, data=message.get_data(), headers=headers, timeout=30)
            said = await response.text()
        except (ConnectError, ResponseFailed) as fault:
            kumo.reject(450, f"4.4.1 {URL}: {fault}")
        if 400 <= response.code < 500:
            kumo.reject(550, f"5.3.0 {response.code} {said}")
        if response.code >= 300:
            kumo.reject(450, f"4.3.0 {response.code} {said}")
        return f"{response.code} {said}"
