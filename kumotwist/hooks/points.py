"""
Every event that a policy can have handlers for.  Names, arguments and their order are the model's.

FIRST: handlers are asked in order until one answers something other than None.  EVERY: all of them run, in order, and what
they return is ignored.  A handler may take fewer arguments than there are, from the left.
"""

from enum import Enum

from msgspec import Struct


class Answer(Enum):
    """Whose answer counts."""

    FIRST = "first"
    EVERY = "every"


class Point(Struct, frozen=True):
    """One event.  single: a second handler for it in one file is a fault, since it would never be asked."""

    name: str
    arguments: tuple[str, ...]
    answer: Answer = Answer.EVERY
    single: bool = False


def _single(name: str, *arguments: str) -> Point:
    return Point(name, arguments, Answer.FIRST, True)


def _first(name: str, *arguments: str) -> Point:
    return Point(name, arguments, Answer.FIRST)


def constructor_point(name: str) -> Point:
    """An event of the policy's own: a queue's `protocol` names it, and it makes what the queue's mail is handed over to."""
    return Point(name, ("domain", "tenant", "campaign"), Answer.FIRST, True)


def _every(name: str, *arguments: str) -> Point:
    return Point(name, arguments)


POINTS = {
    point.name: point
    for point in (
        _every("pre_init"),
        _every("init"),
        # reception
        _single("smtp_server_get_dynamic_parameters", "listener", "conn_meta"),
        _every("smtp_server_connection_accepted", "conn_meta"),
        _first("smtp_server_ehlo", "domain", "conn_meta", "extensions"),
        _first("smtp_server_auth_plain", "authz", "authc", "password", "conn_meta"),
        _every("smtp_server_mail_from", "address", "conn_meta"),
        _single("get_listener_domain", "domain", "listener", "conn_meta"),
        _every("smtp_server_rcpt_to", "address", "conn_meta"),
        _every("smtp_server_data", "message", "conn_meta"),
        _first("smtp_server_split_transaction", "message", "conn_meta"),
        _every("smtp_server_message_received", "message", "conn_meta"),
        _first("smtp_server_rewrite_response", "status", "text", "command", "conn_meta"),
        # HTTP
        _single("http_server_validate_auth_basic", "user", "password"),
        _single("http_server_validate_auth_bearer", "token"),
        _single("get_acl_definition", "resource"),
        _every("http_message_generated", "message", "auth_info"),
        # queues and delivery
        _single("get_queue_config", "domain", "tenant", "campaign", "routing_domain"),
        _single("get_egress_pool", "pool_name"),
        _single("get_egress_source", "source_name"),
        _single("get_egress_path_config", "routing_domain", "egress_source", "site_name"),
        _every("throttle_insert_ready_queue", "message"),
        _every("requeue_message", "message", "smtp_response", "insert_context", "increment_attempts", "delay"),
        _every("rebind_message", "message", "data"),
        _every("spool_message_enumerated", "message"),
        _first("smtp_client_rewrite_delivery_status", "response", "domain", "tenant", "campaign", "routing_domain"),
        # log records
        _first("should_enqueue_log_record", "message", "hook_name"),
    )
}
