"""
What became of messages is posted to a web server by the policy, a record at a time.

Each record becomes a message in a queue of its own, so it is kept and retried as mail is; `log_hooks` costs less.
"""

import treq
from twisted.internet.error import ConnectError
from twisted.web.client import ResponseFailed

from kumotwist import kumo

URL = "http://127.0.0.1:8080/log"
HEADERS: dict[str | bytes, str | bytes] = {"Content-Type": "application/json"}
QUEUE = "crm.log_hook"


@kumo.on("init")
def init() -> None:
    kumo.configure_log_hook(name="crm", record_types=["Delivery", "Bounce", "Expiration", "AdminBounce"])


@kumo.on("should_enqueue_log_record")
def wanted(msg: kumo.Message, hook_name: str) -> bool | None:
    if hook_name != "crm":
        return None
    msg.set_meta("queue", QUEUE)
    return True


@kumo.on("get_queue_config")
def queue_config(domain: str) -> kumo.QueueConfig | None:
    if domain != QUEUE:
        return None
    return kumo.make_queue_config(
        protocol={"custom_lua": {"constructor": "make.crm"}}, retry_interval="1 minute", max_retry_interval="20 minutes"
    )


@kumo.constructor("make.crm")
class Crm:
    async def send(self, message: kumo.Message) -> str:
        try:
            response = await treq.post(URL, data=message.get_data(), headers=HEADERS, timeout=30)
            said = await response.text()
        except (ConnectError, ResponseFailed) as fault:
            kumo.reject(450, f"4.4.1 {URL}: {fault}")
        if response.code >= 300:  # whatever it is, the record is not lost: it is tried again
            kumo.reject(450, f"4.3.0 {response.code} {said}")
        return f"{response.code} {said}"
