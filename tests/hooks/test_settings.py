"""`kumo.make_…`: settings as a policy gives them, checked like those of a file."""

from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from twisted.trial.unittest import SynchronousTestCase

from kumotwist import kumo
from kumotwist.config.egress import EgressPool, EgressSource, EnableTls, PathSettings, PoolEntry
from kumotwist.config.fields import Limit, Networks, Rate
from kumotwist.config.given import BadParameters, GivenParameters
from kumotwist.config.listeners import ListenerDomain, ListenerSettings
from kumotwist.config.queues import MxHost, QueueSettings
from kumotwist.config.reading import fields_of
from kumotwist.config.server import LogSettings, SpoolSettings
from kumotwist.hooks import parameters
from tests.hooks.around import PolicyCase

MAKERS = {
    kumo.make_egress_path: {},
    kumo.make_queue_config: {},
    kumo.make_listener_domain: {},
    kumo.make_egress_source: {"name": "x"},
    kumo.make_egress_pool: {"name": "x"},
}


class MadeTests(SynchronousTestCase):
    """What comes out."""

    maxDiff = None

    def test_without_parameters_there_are_the_defaults(self) -> None:
        self.assertEqual(kumo.make_egress_path(), PathSettings())
        self.assertEqual(kumo.make_queue_config({}), QueueSettings())
        self.assertEqual(kumo.make_listener_domain(), ListenerDomain())
        self.assertEqual(kumo.make_egress_source(name="ip-1"), EgressSource(name="ip-1"))
        self.assertEqual(kumo.make_egress_pool(name="pool-1"), EgressPool(name="pool-1"))

    def test_none_is_the_default(self) -> None:
        self.assertEqual(kumo.make_queue_config(egress_pool=None, max_age=None), QueueSettings())
        self.assertEqual(kumo.make_egress_pool(name="x", entries=None), EgressPool(name="x"))

    def test_values_are_read_as_in_a_file(self) -> None:
        self.assertEqual(
            kumo.make_egress_path(
                connection_limit=10,
                max_connection_rate="1,000/hr",
                connect_timeout="1m 30s",
                idle_timeout=0.25,
                data_timeout=timedelta(minutes=2),
                enable_tls="Required",
                skip_hosts=["10.0.0.0/8", ip_address("192.0.2.1"), ip_network("2001:db8::/32")],
                enable_pipelining=False,
            ),
            PathSettings(
                connection_limit=Limit(10),
                max_connection_rate=Rate(1000, 3600.0),
                connect_timeout=90.0,
                idle_timeout=0.25,
                data_timeout=120.0,
                enable_tls=EnableTls.REQUIRED,
                skip_hosts=Networks((ip_network("10.0.0.0/8"), ip_network("192.0.2.1"), ip_network("2001:db8::/32"))),
                enable_pipelining=False,
            ),
        )

    def test_values_that_were_made_can_be_given_again(self) -> None:
        made = kumo.make_egress_path(connection_limit="local:10", max_message_rate="20/30min,max_burst=5", enable_tls="Disabled")
        again: dict[str, Any] = {name: getattr(made, name) for name in ("connection_limit", "max_message_rate", "enable_tls")}
        self.assertEqual(kumo.make_egress_path(**again), made)

    def test_pools_and_their_entries(self) -> None:
        pool = kumo.make_egress_pool(
            name="p", entries=[{"name": "ip-2", "weight": 2}, {"name": "ip-3"}, {"name": "ip-2", "weight": None}]
        )
        entries = (PoolEntry(name="ip-2", weight=2), PoolEntry(name="ip-3"), PoolEntry(name="ip-2"))
        self.assertEqual(pool, EgressPool(name="p", entries=entries))

    def test_a_list_of_hosts_instead_of_the_mx(self) -> None:
        hosts = ["smart.host.local", {"name": "mx.example.com", "addr": "10.0.0.1"}, "[::1]", "[10.0.0.1]:2025"]
        self.assertEqual(
            kumo.make_queue_config({"protocol": {"smtp": {"mx_list": hosts}}}).mx_list,
            (
                MxHost(name="smart.host.local", label="smart.host.local"),
                MxHost(name="mx.example.com", label="10.0.0.1", addr="10.0.0.1"),
                MxHost(name="::1", label="[::1]", addr="::1"),
                MxHost(name="10.0.0.1", label="[10.0.0.1]:2025", addr="10.0.0.1", port=2025),
            ),
        )

    def test_a_mapping_and_keywords_together_and_keywords_win(self) -> None:
        shared = {"max_age": "1 hour", "retry_interval": "1 minute"}
        made = kumo.make_queue_config(shared, retry_interval="2 minutes", egress_pool="p")
        self.assertEqual(made, QueueSettings(max_age=3600.0, retry_interval=120.0, egress_pool="p"))
        self.assertEqual(shared, {"max_age": "1 hour", "retry_interval": "1 minute"})

    def test_answers_are_frozen(self) -> None:
        with self.assertRaises(AttributeError):
            kumo.make_queue_config().max_age = 1.0  # type: ignore[misc]


class RefusedTests(SynchronousTestCase):
    """What is wrong is named: the key, what it is, what was expected, what was probably meant."""

    maxDiff = None

    def test_each_kind_of_mistake(self) -> None:
        table = (
            (kumo.make_egress_path, "connection_limit", "ten", (
                'connection_limit: "ten" is not a whole number, expected a whole number, 1 or more, or local:N'
            )),
            (kumo.make_egress_path, "conection_limit", 10, (
                'unknown key "conection_limit" in the parameters, did you mean "connection_limit"?'
            )),
            (kumo.make_egress_path, "connect_timeout", "5 minits", (
                'connect_timeout: unknown unit "minits" in "5 minits", expected a number of seconds, or a text such as '
                '"5 minutes" or "1d 2h", did you mean "5 mins"?'
            )),
            (kumo.make_egress_path, "enable_tls", "required", (
                'enable_tls: "required" is not known, expected Disabled, Opportunistic, OpportunisticInsecure, Required or '
                'RequiredInsecure, did you mean "Required"?'
            )),
            (kumo.make_egress_path, "enable_pipelining", 1, 'enable_pipelining: "1" is not a switch, expected true or false'),
            (kumo.make_egress_path, "enable_pipelining", "true", (
                'enable_pipelining: "true" is a text, expected true or false, did you mean true without quotes?'
            )),
            (kumo.make_egress_path, "max_ready", 1.5, 'max_ready: "1.5" is not a number, expected a whole number, 1 or more'),
            (kumo.make_egress_path, "max_ready", -1, "max_ready: -1 is out of range, expected a whole number, 1 or more"),
            (kumo.make_egress_path, "skip_hosts", "10.0.0.0/8", (
                'skip_hosts: "10.0.0.0/8", expected a list, did you mean [10.0.0.0/8]?'
            )),
            (kumo.make_queue_config, "egress_pool", 3, "egress_pool: 3, expected a text"),
            (kumo.make_queue_config, "egress_pool", ["a"], "egress_pool: a list, expected a text"),
            (kumo.make_queue_config, "max_age", object, (
                "a value of type type, expected a text, a number, a list or a mapping"
            )),
            (kumo.make_queue_config, 3, "x", "3 as a key, expected a text"),
            (kumo.make_queue_config, "max_retry_interval", "1 minute", (
                "max_retry_interval: 1m is shorter than retry_interval 20m, expected it as long or longer"
            )),
            (kumo.make_queue_config, "protocol", {"smtp": {"mx_lst": []}}, 'unknown key "mx_lst" in protocol.smtp'),
            (kumo.make_listener_domain, "relay_to", "yes", 'relay_to: "yes" is a text, expected true or false'),
            (kumo.make_egress_source, "source_address", "10.0.0", (
                'source_address: "10.0.0" is not an IP address, expected an IPv4 or IPv6 address'
            )),
            (kumo.make_egress_source, "name", None, "name: nothing, expected a text"),
            (kumo.make_egress_source, "name", 3, "name: 3, expected a text"),
            (kumo.make_egress_pool, "entries", ["ip-1"], 'entries: "ip-1", expected a mapping'),
            (kumo.make_egress_pool, "entries", [{"weight": 1}], "entries: name is missing, expected a text"),
            (kumo.make_egress_pool, "entries", [{"name": "a", "weight": "2"}], 'weight: "2" is a text'),
            (kumo.make_egress_pool, "entrys", [], 'unknown key "entrys" in the parameters, did you mean "entries"?'),
        )  # fmt: skip
        for maker, key, value, what in table:
            given: dict[Any, Any] = {**MAKERS[maker], key: value}
            with self.assertRaises(BadParameters, msg=repr(given)) as caught:
                maker(given)
            self.assertTrue(str(caught.exception).startswith(f"{maker.__name__}: {what}"), str(caught.exception))

    def test_all_that_is_wrong_is_said_at_once(self) -> None:
        with self.assertRaises(BadParameters) as caught:
            kumo.make_egress_path({"max_ready": "x", "smtp_port": 70000, "nonsense": 1})
        self.assertEqual(len(caught.exception.wrong), 3)
        self.assertIsInstance(caught.exception, ValueError)

    def test_names_are_required(self) -> None:
        for maker in (kumo.make_egress_source, kumo.make_egress_pool):
            with self.assertRaisesRegex(BadParameters, "name is missing, expected a text"):
                maker()

    def test_one_thing_that_is_no_mapping(self) -> None:
        with self.assertRaises(TypeError):
            kumo.make_egress_path("ten")  # type: ignore[arg-type]

    @given(
        st.sampled_from(sorted(MAKERS, key=lambda maker: maker.__name__)),
        st.dictionaries(
            st.sampled_from(["name", "entries", "max_age", "protocol", "relay_from", "source_address", "connection_limit"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
                max_leaves=5,
            ),
        ),
    )
    def test_whatever_is_given_there_is_an_answer_or_bad_parameters(self, maker: Any, given: dict[str, Any]) -> None:
        try:
            made = maker(given)
        except BadParameters as fault:
            self.assertTrue(fault.wrong)
            return
        self.assertIsInstance(made, Struct)

    def test_a_mapping_in_itself_comes_to_an_end(self) -> None:
        cyclic: dict[str, Any] = {}
        cyclic["protocol"] = cyclic
        with self.assertRaisesRegex(BadParameters, "nested more than 50 levels deep"):
            kumo.make_queue_config(cyclic)


class PlaceTests(PolicyCase):
    """Names of files start where the policy is."""

    def test_relative_to_the_policy_file(self) -> None:
        given = GivenParameters("define_spool", {"path": "spool"}, str(self.place / "policy.py"))
        self.assertEqual(given.named(SpoolSettings), {"path": str(self.place / "spool")})

    def test_a_mistake_at_load_is_told_with_its_line(self) -> None:
        (fault,) = self.faults("\nPATH = kumo.make_egress_path(max_ready=0)\n")
        self.assertTrue(fault.startswith("policy.py:3: BadParameters: make_egress_path: max_ready: 0 is out of range"), fault)


def choices(annotation: Any) -> set[str]:
    """The words in an annotation, wherever in it they stand."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {word for argument in get_args(annotation) for word in choices(argument)}


class TypeTests(SynchronousTestCase):
    """What editors and type checkers know is what the Structs say."""

    maxDiff = None

    TABLE = (
        (parameters.SourceParameters, EgressSource, {"name"}),
        (parameters.PoolParameters, EgressPool, {"name"}),
        (parameters.PoolEntryParameters, PoolEntry, {"name"}),
        (parameters.PathParameters, PathSettings, set()),
        (parameters.QueueParameters, QueueSettings, set()),
        (parameters.ListenerDomainParameters, ListenerDomain, set()),
        (parameters.ListenerParameters, ListenerSettings, set()),
        (parameters.SpoolParameters, SpoolSettings, set()),
        (parameters.LogParameters, LogSettings, set()),
    )

    def test_the_parameters_are_those_of_the_structs(self) -> None:
        """Add what is missing to hooks/parameters.py."""
        for typed, struct, more in self.TABLE:
            self.assertEqual(set(get_type_hints(typed)), set(fields_of(struct)) | more, typed.__name__)

    def test_the_words_are_those_of_the_enumerations(self) -> None:
        for typed, struct, _ in self.TABLE:
            hints = get_type_hints(typed)
            for key, field in fields_of(struct).items():
                if isinstance(field.wanted, type) and hasattr(field.wanted, "__members__"):
                    self.assertEqual(choices(hints[key]), {one.value for one in field.wanted}, f"{typed.__name__}.{key}")
