"""What the model's reference has, as lists: events with their arguments, the message's methods, the facade's functions."""

import inspect

from twisted.trial.unittest import SynchronousTestCase

from kumotwist import kumo
from kumotwist.hooks.connection import ConnMeta
from kumotwist.hooks.points import POINTS

# Those that issue 3 of this project names; in the order in which a session meets them.
EVENTS = {
    "pre_init": (),
    "init": (),
    "smtp_server_get_dynamic_parameters": ("listener", "conn_meta"),
    "smtp_server_connection_accepted": ("conn_meta",),
    "smtp_server_ehlo": ("domain", "conn_meta", "extensions"),
    "smtp_server_auth_plain": ("authz", "authc", "password", "conn_meta"),
    "smtp_server_mail_from": ("address", "conn_meta"),
    "smtp_server_rcpt_to": ("address", "conn_meta"),
    "smtp_server_split_transaction": ("message", "conn_meta"),
    "smtp_server_data": ("message", "conn_meta"),
    "smtp_server_message_received": ("message", "conn_meta"),
    "smtp_server_rewrite_response": ("status", "text", "command", "conn_meta"),
    "get_listener_domain": ("domain", "listener", "conn_meta"),
    "get_queue_config": ("domain", "tenant", "campaign", "routing_domain"),
    "get_egress_pool": ("pool_name",),
    "get_egress_source": ("source_name",),
    "get_egress_path_config": ("routing_domain", "egress_source", "site_name"),
    "requeue_message": ("message", "smtp_response", "insert_context", "increment_attempts", "delay"),
    "rebind_message": ("message", "data"),
    "throttle_insert_ready_queue": ("message",),
    "spool_message_enumerated": ("message",),
    "smtp_client_rewrite_delivery_status": ("response", "domain", "tenant", "campaign", "routing_domain"),
}
SINGLE_ANSWERS = {
    "get_queue_config", "get_egress_path_config", "get_egress_source", "get_egress_pool", "get_listener_domain",
    "smtp_server_get_dynamic_parameters",
}  # fmt: skip

# What routes, headers, metadata, scheduling and content need.  Signing and reports, and what writes to the spool, are others'.
ATTRIBUTES = {"id", "sender", "recipient", "recipients", "queue_name", "num_attempts"}
METHODS = {
    "set_sender": ("sender",),
    "set_recipient": ("recipient",),
    "recipient_list": (),
    "get_meta": ("key",),
    "set_meta": ("key", "value"),
    "get_data": (),
    "set_data": ("content",),
    "from_header": (),
    "to_header": (),
    "get_address_header": ("name",),
    "get_first_named_header_value": ("name",),
    "get_all_named_header_values": ("name",),
    "get_all_headers": (),
    "prepend_header": ("name", "value", "encode"),
    "append_header": ("name", "value", "encode"),
    "remove_all_named_headers": ("name",),
    "remove_x_headers": ("names",),
    "import_x_headers": ("names",),
    "import_headers": ("specs",),
    "import_scheduling_header": ("name", "remove"),
    "set_scheduling": ("constraints",),
    "set_due": ("when",),
    "increment_num_attempts": (),
    "check_fix_conformance": ("checks", "fixes", "settings"),
    "parse_mime": (),
    "append_text_plain": ("text",),
    "append_text_html": ("text",),
}
OF_A_CONNECTION = {"get_meta": ("key",), "set_meta": ("key", "value"), "auth_info": ()}
FACADE = """on reject disconnect memoize make_egress_source make_egress_pool make_egress_path make_queue_config
    make_listener_domain start_esmtp_listener define_spool configure_local_logs make_message inject_message make_throttle"""
SERDE = "toml_load json_load yaml_load toml_parse json_parse yaml_parse toml_encode json_encode json_encode_pretty yaml_encode"


def arguments(function: object) -> tuple[str, ...]:
    """Without self, and without what begins with an underscore."""
    assert callable(function)
    return tuple(name for name in inspect.signature(function).parameters if name != "self")


class ReferenceTests(SynchronousTestCase):
    def test_events_and_their_arguments_in_their_order(self) -> None:
        self.assertEqual({name: POINTS[name].arguments for name in EVENTS}, EVENTS)

    def test_events_of_which_a_file_has_one_handler(self) -> None:
        self.assertEqual({name for name, point in POINTS.items() if point.single} & EVENTS.keys(), SINGLE_ANSWERS)

    def test_what_a_message_has(self) -> None:
        has = {name for name in dir(kumo.Message) if not name.startswith("_")}
        self.assertEqual((ATTRIBUTES | METHODS.keys()) - has, set())
        self.assertEqual({name: arguments(getattr(kumo.Message, name)) for name in METHODS}, METHODS)
        self.assertEqual({name for name in ATTRIBUTES if not isinstance(getattr(kumo.Message, name), property)}, set())

    def test_what_a_connection_has(self) -> None:
        self.assertEqual({name: arguments(getattr(ConnMeta, name)) for name in OF_A_CONNECTION}, OF_A_CONNECTION)

    def test_what_the_facade_has(self) -> None:
        self.assertEqual([name for name in FACADE.split() if not callable(getattr(kumo, name, None))], [])
        self.assertEqual([name for name in SERDE.split() if not callable(getattr(kumo.serde, name, None))], [])
        self.assertTrue(inspect.iscoroutinefunction(kumo.dns.lookup_mx))
