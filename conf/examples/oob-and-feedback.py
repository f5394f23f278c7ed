"""Bounces that come later and complaints arrive as mail for domains of ours: they become OOB and Feedback records."""

from kumotwist import kumo

DOMAINS = {
    "bounces.example.com": kumo.make_listener_domain(log_oob="LogThenDrop"),
    "fbl.example.com": kumo.make_listener_domain(log_arf="LogThenDrop"),
}


@kumo.on("init")
def init() -> None:
    kumo.configure_bounce_classifier(files=["bounce_rules.toml", "builtin:default"])


@kumo.on("get_listener_domain")
def listener_domain(domain: str, listener: str, conn_meta: kumo.ConnMeta) -> kumo.ListenerDomain | None:
    return DOMAINS.get(domain)
