"""Who does not exist gets no second message from the same tenant for 90 days; decided by the policy, for each record."""

from kumotwist import kumo

GONE = {"InvalidRecipient", "InactiveMailbox"}


@kumo.on("init")
def init() -> None:
    kumo.configure_bounce_classifier(files=["builtin:default"])
    kumo.configure_log_hook(name="suppression", record_types=["Bounce"])


@kumo.on("should_enqueue_log_record")
async def record(msg: kumo.Message, hook_name: str) -> bool | None:
    if hook_name != "suppression":
        return None
    told = msg.get_meta("log_record")
    if told["bounce_classification"] in GONE:
        for recipient in msg.recipients:
            tenant = told["meta"].get("tenant", "")
            if kumo.suppression.find(recipient, tenant) is None:
                await kumo.suppression.add(recipient=recipient, tenant=tenant, reason="does not exist", expires="90 days")
    return False  # the record itself goes nowhere
