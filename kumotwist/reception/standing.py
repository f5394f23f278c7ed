"""What holds for the next transaction: the configuration's rules and the policy, replaced as a whole when they change."""

from typing import Any

from kumotwist.config.dynamic import EVENT as DYNAMIC_PARAMETERS
from kumotwist.hooks.policy import Policy
from kumotwist.hooks.signing import Signing
from kumotwist.reception.intake import Intake, Rules


class Standing:
    """
    Rules prepared for use, and the policy; and what the same configuration says of queues, which a message takes along.

    What the policy wants to be asked is looked up here once, not with each command.
    """

    __slots__ = (
        "accepted", "auth", "data", "directions", "dynamic", "ehlo", "intake", "listener_domain", "mail", "messages", "policy",
        "rcpt", "received", "rewrite", "signing", "split",
    )  # fmt: skip

    def __init__(self, rules: Rules, policy: Policy, directions: Any = None, signing: Signing | None = None) -> None:
        self.intake = Intake(rules)
        self.directions = directions
        self.policy = policy
        self.dynamic = DYNAMIC_PARAMETERS in policy
        self.accepted = "smtp_server_connection_accepted" in policy
        self.ehlo = "smtp_server_ehlo" in policy
        self.auth = "smtp_server_auth_plain" in policy
        self.mail = "smtp_server_mail_from" in policy
        self.listener_domain = "get_listener_domain" in policy
        self.rcpt = "smtp_server_rcpt_to" in policy
        self.data = "smtp_server_data" in policy
        self.split = "smtp_server_split_transaction" in policy
        self.received = "smtp_server_message_received" in policy
        self.rewrite = "smtp_server_rewrite_response" in policy
        self.signing = signing
        signs = signing is not None and signing.wants_all
        # Whether a message waits for answers, or for its signatures.
        self.messages = self.data or self.split or self.received or self.listener_domain or signs
