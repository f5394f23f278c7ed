"""HTTP injection with logins: who may inject, and whose mail it then is."""

from kumotwist import kumo

PASSWORDS = {"daniel": "tiger", "scott": "lion"}  # in real life, from a database and hashed


@kumo.on("init")
def init() -> None:
    kumo.start_esmtp_listener(listen="127.0.0.1:2025")
    kumo.start_http_listener(listen="127.0.0.1:8000", request_body_limit="20MiB")
    kumo.set_httpinject_recipient_rate_limit("10,000/s")


@kumo.on("http_server_validate_auth_basic")
def check(user: str, password: str) -> bool:
    return PASSWORDS.get(user) == password


@kumo.on("http_message_generated")
def generated(message: kumo.Message, auth: kumo.AuthInfo) -> None:
    for one in auth.identities:
        message.set_meta("tenant", one.identity)


@kumo.on("get_queue_config")
def queue_config(domain: str) -> kumo.QueueConfig:
    return kumo.make_queue_config(max_age="24 hours")
