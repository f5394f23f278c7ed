"""Policy files that load, and all that can be wrong with one that does not."""

import gc
import sys

from kumotwist.config.faults import ConfigFaults
from kumotwist.hooks.context import entered
from kumotwist.hooks.loading import load_policy
from kumotwist.hooks.points import POINTS
from kumotwist.hooks.registration import NotLoading, register
from tests.hooks.around import PolicyCase


class HandlerTests(PolicyCase):
    """How functions become handlers."""

    def test_a_decorated_function_is_asked_and_stays_usable(self) -> None:
        policy = self.load("""
            @kumo.on("get_egress_pool")
            def pool(name):
                return kumo.make_egress_pool(name=name)
            SAME = pool("x").name
        """)
        self.assertEqual(policy.first("get_egress_pool", "bulk").name, "bulk")

    def test_a_function_can_be_handed_over(self) -> None:
        policy = self.load("""
            def pool(name):
                return kumo.make_egress_pool(name=name)
            assert kumo.on("get_egress_pool", pool) is pool
        """)
        self.assertEqual(policy.first("get_egress_pool", "bulk").name, "bulk")

    def test_a_handler_takes_what_it_has_room_for(self) -> None:
        table = {
            "lambda: seen.append(())": [()],
            "lambda domain: seen.append((domain,))": [("d",)],
            "lambda domain, tenant: seen.append((domain, tenant))": [("d", "t")],
            "lambda domain, tenant, campaign, routing: seen.append((domain, routing))": [("d", "r")],
            "lambda domain, tenant=None: seen.append((domain, tenant))": [("d", "t")],
            "lambda *all: seen.append(all)": [("d", "t", "c", "r")],
            "lambda domain, *more: seen.append((domain, more))": [("d", ("t", "c", "r"))],
            "lambda domain, *, extra=1: seen.append((domain, extra))": [("d", 1)],
            "lambda a, b, c, d, e=5: seen.append((d, e))": [("r", 5)],
        }
        for handler, seen in table.items():
            policy = self.load(
                f"import tests.hooks.test_loading as here\nseen = here.SEEN\nkumo.on('get_queue_config', {handler})\n"
            )
            SEEN.clear()
            self.assertEqual(policy.first("get_queue_config", "d", "t", "c", "r"), None)
            self.assertEqual(SEEN, seen, handler)

    def test_methods_partial_functions_and_callable_objects_are_handlers_too(self) -> None:
        policy = self.load("""
            import functools
            class Pools:
                def pool(self, name):
                    return kumo.make_egress_pool(name=name)
                def __call__(self, name):
                    return kumo.make_egress_source(name=name)
            kumo.on("get_egress_pool", Pools().pool)
            kumo.on("get_egress_source", Pools())
            kumo.on("get_queue_config", functools.partial(lambda pool, domain: kumo.make_queue_config(egress_pool=pool), "p"))
        """)
        self.assertEqual(policy.first("get_egress_pool", "a").name, "a")
        self.assertEqual(policy.first("get_egress_source", "b").name, "b")
        self.assertEqual(policy.first("get_queue_config", "d", None, None, None).egress_pool, "p")

    def test_the_files_are_asked_in_their_order(self) -> None:
        policy = self.load(
            "kumo.on('get_queue_config', lambda domain: kumo.make_queue_config(egress_pool='a') if domain == 'a' else None)",
            "kumo.on('get_queue_config', lambda: kumo.make_queue_config(egress_pool='b'))",
        )
        answers = [policy.first("get_queue_config", domain, None, None, None).egress_pool for domain in ("a", "x")]
        self.assertEqual(answers, ["a", "b"])

    def test_message_events_may_have_several_handlers_in_one_file(self) -> None:
        policy = self.load("""
            @kumo.on("smtp_server_message_received")
            def first(msg):
                msg.set_meta("seen", ["first"])
            @kumo.on("smtp_server_message_received")
            def second(msg):
                msg.set_meta("seen", [*msg.get_meta("seen"), "second"])
        """)
        message = self.message()
        self.assertIsNone(policy.each("smtp_server_message_received", message, None))
        self.assertEqual(message.get_meta("seen"), ["first", "second"])

    def test_nothing_can_be_registered_once_the_policy_is_loaded(self) -> None:
        policy = self.load("""
            @kumo.on("init")
            def init():
                kumo.on("get_egress_pool", lambda name: None)
        """)
        with self.assertRaises(NotLoading):
            policy.handlers("init")[0].call()
        with self.assertRaises(NotLoading):
            register("init", lambda: None)

    def test_events_that_the_configuration_names_can_be_handled(self) -> None:
        policy = self.load("kumo.on('get_my_key', lambda *args: b'key ' + bytes(args))", own_events=("get_my_key",))
        self.assertEqual(policy.first("get_my_key", 65, 66), b"key AB")
        self.assertIn("get_my_key", policy)


SEEN: list[object] = []


class FaultTests(PolicyCase):
    """What is wrong is said with file and line, all of it at once."""

    def test_what_can_be_wrong_with_one_line(self) -> None:
        table = {
            "def broken(:": "policy.py:2: not Python: invalid syntax",
            "import no_such_module": "policy.py:2: cannot import: No module named 'no_such_module'",
            "1 / 0": "policy.py:2: ZeroDivisionError: division by zero",
            "kumo.regect(500, 'x')": 'policy.py:2: AttributeError: kumo has no "regect", did you mean "reject"?',
            "kumo.mimepart": "policy.py:2: AttributeError: kumo.mimepart is not implemented yet",
            "kumo.sqlite": 'policy.py:2: AttributeError: kumo has no "sqlite": Python has it, as sqlite3',
            "kumo.on('get_que_config', print)": (
                'policy.py:2: kumo.on: unknown event "get_que_config", did you mean "get_queue_config"?'
            ),
            "kumo.on('init', None)": "policy.py:2: kumo.on: the handler of init is None, expected a function",
            "kumo.on('init', 'text')": "policy.py:2: kumo.on: the handler of init is a str, expected a function",
            "kumo.on('init', lambda x: None)": (
                "policy.py:2: kumo.on: <lambda> requires 1 argument (x), init passes none"
            ),
            "kumo.on('get_egress_pool', lambda a, b: None)": (
                "policy.py:2: kumo.on: <lambda> requires 2 arguments (a, b), get_egress_pool passes 1 (pool_name)"
            ),
            "kumo.on('init', lambda *, x: None)": (
                "policy.py:2: kumo.on: <lambda> requires x by name, but init passes its arguments by place"
            ),
            "raise SystemExit(3)": "policy.py:2: ends the process, expected a policy that loads",
            "kumo.make_egress_path(connection_limit='ten')": (
                'policy.py:2: BadParameters: make_egress_path: connection_limit: "ten" is not a whole number, '
                "expected a whole number, 1 or more, or local:N"
            ),
            "kumo.reject(500, 'no')": "policy.py:2: Rejection: 500 no",
        }  # fmt: skip
        for line, fault in table.items():
            self.assertEqual(self.faults(line), [fault], line)

    def test_an_unknown_event_that_resembles_none_is_told_all_of_them(self) -> None:
        (fault,) = self.faults("kumo.on('zzz', print)")
        self.assertTrue(fault.startswith('policy.py:2: kumo.on: unknown event "zzz", expected one of get_acl_definition, '), fault)

    def test_a_second_handler_for_an_event_with_one_answer_is_a_fault_in_the_same_file(self) -> None:
        single = [name for name, point in POINTS.items() if point.single]
        for event in single:
            one = f"kumo.on('{event}', lambda: None)\n"
            self.assertEqual(
                self.faults(one * 2),
                [f"policy.py:3: kumo.on: a second handler of {event}, which would never be asked; the first is in line 2"],
            )
            self.assertEqual(len(self.load(one, one).handlers(event)), 2)
        self.assertGreater(len(single), 5)

    def test_a_loop_over_one_line_is_no_way_around_that(self) -> None:
        (fault,) = self.faults("for n in range(2): kumo.on('get_egress_pool', lambda name: None)")
        self.assertIn("a second handler of get_egress_pool", fault)

    def test_all_faults_of_all_files_come_at_once_in_the_order_of_files_and_lines(self) -> None:
        found = self.faults(
            "kumo.on('ini', print)\nkumo.on('init', 3)\n1 / 0\nkumo.on('never', reached)",
            "import this_is_not_there",
            "x = (",
        )
        self.assertEqual(
            [fault.split(": ", 1)[0] for fault in found],
            ["policy.py:2", "policy.py:3", "policy.py:4", "policy1.py:2", "policy2.py:2"],
        )

    def test_a_fault_deep_in_what_the_policy_calls_is_told_where_the_policy_calls_it(self) -> None:
        self.assertEqual(
            self.faults("import json\n\njson.loads('{')\n"),
            ["policy.py:4: JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"],
        )

    def test_a_fault_in_a_module_beside_the_policy_is_told_there(self) -> None:
        self.write("VALUE = 1\n\nraise ValueError('bad table')\n", "tables.py")
        self.assertEqual(self.faults("import tables"), ["tables.py:3: ValueError: bad table"])
        self.write("VALUE = (\n", "tables.py")
        self.assertEqual(self.faults("import tables"), ["tables.py:1: not Python: '(' was never closed"])

    def test_a_file_that_cannot_be_read_is_a_fault(self) -> None:
        with self.assertRaises(ConfigFaults) as caught:
            load_policy([self.place / "gone.py"], self.clock, self.services)
        self.assertEqual(str(caught.exception), f"{self.place}/gone.py:1: cannot be read: No such file or directory")

    def test_octets_that_are_no_text_are_a_fault(self) -> None:
        for octets in (b"x = '\xff'\n", b"x = 1\0\n"):
            (self.place / "policy.py").write_bytes(octets)
            with self.assertRaises(ConfigFaults) as caught:
                load_policy([self.place / "policy.py"], self.clock, self.services)
            self.assertIn("policy.py:1: ", str(caught.exception))

    def test_a_missing_file_of_data_is_told_where_it_was_wanted(self) -> None:
        (fault,) = self.faults("\ntable = kumo.serde.toml_load('gone.toml')")
        self.assertTrue(fault.startswith("policy.py:3: FileNotFoundError: "), fault)


class FreshnessTests(PolicyCase):
    """Nothing of an earlier loading is seen by a later one."""

    TEXT = """
        import tables
        kumo.on("get_egress_pool", lambda name: kumo.make_egress_pool(name=tables.POOL))
    """

    def pool(self) -> str:
        return str(self.load(self.TEXT).first("get_egress_pool", "any").name)

    def test_a_change_of_a_module_beside_the_policy_is_seen_even_within_the_same_second(self) -> None:
        self.write("POOL = 'a'\n", "tables.py")
        self.assertEqual(self.pool(), "a")
        self.write("POOL = 'b'\n", "tables.py")
        self.assertEqual(self.pool(), "b")

    def test_so_is_a_change_in_a_package_beside_it(self) -> None:
        self.write("", "tables/__init__.py")
        self.write("POOL = 'a'\n", "tables/pools.py")
        text = "from tables.pools import POOL\nkumo.on('get_egress_pool', lambda: kumo.make_egress_pool(name=POOL))\n"
        self.assertEqual(self.load(text).first("get_egress_pool", "any").name, "a")
        self.write("POOL = 'b'\n", "tables/pools.py")
        self.assertEqual(self.load(text).first("get_egress_pool", "any").name, "b")
        self.assertFalse([name for name in sys.modules if name.startswith("tables")])

    def test_no_bytecode_is_left_behind(self) -> None:
        self.write("POOL = 'a'\n", "tables.py")
        self.pool()
        self.assertEqual(sorted(file.name for file in self.place.iterdir()), ["policy.py", "tables.py"])

    def test_the_files_of_one_policy_share_a_module_beside_them(self) -> None:
        self.write("COUNT = []\n", "tables.py")
        policy = self.load(
            "import tables\ntables.COUNT.append(1)",
            "import tables\nkumo.on('get_egress_pool', lambda: kumo.make_egress_pool(name=str(len(tables.COUNT))))",
        )
        self.assertEqual(policy.first("get_egress_pool", "any").name, "1")

    def test_two_directories_may_have_modules_of_one_name(self) -> None:
        files = []
        for name in ("a", "b"):
            self.write(f"POOL = '{name}'\n", f"{name}/tables.py")
            text = "from kumotwist import kumo\nimport tables\n"
            text += f"kumo.on('get_egress_{'pool' if name == 'a' else 'source'}', lambda: tables.POOL)\n"
            files.append(self.write(text, f"{name}/policy.py"))
        policy = load_policy(files, self.clock, self.services)
        self.assertEqual((policy.first("get_egress_pool", "x"), policy.first("get_egress_source", "x")), ("a", "b"))

    def test_pythons_own_modules_are_not_hidden_by_files_of_the_same_name(self) -> None:
        self.write("raise AssertionError('not this one')", "string.py")
        self.write("raise AssertionError('not this one')", "kumotwist.py")
        self.load("import string\nassert string.digits")

    def test_python_lists_a_policy_while_it_lives_and_no_longer(self) -> None:
        before = set(sys.modules)
        policy = self.load("class Tenant: pass\nassert Tenant.__module__ in __import__('sys').modules")
        self.assertEqual(len(set(sys.modules) - before), 1)
        del policy
        gc.collect()
        self.assertEqual(set(sys.modules) - before, set())

    def test_a_policy_that_does_not_load_leaves_nothing(self) -> None:
        before = set(sys.modules)
        self.write("1 / 0", "tables.py")
        self.faults("import tables")
        self.assertEqual(set(sys.modules) - before, set())
        self.assertFalse([finder for finder in sys.meta_path if type(finder).__name__ == "BesidePolicy"])

    def test_all_that_was_read_is_known(self) -> None:
        self.write("POOL = 'a'\n", "tables.py")
        self.write("a = 1\n", "pools.toml")
        self.load("import tables\nPOOLS = kumo.serde.toml_load('pools.toml')")
        self.assertEqual({name.rpartition("/")[2] for name in self.services.files}, {"policy.py", "tables.py", "pools.toml"})

    def test_dataclasses_and_postponed_annotations_work(self) -> None:
        self.write(
            """
            from __future__ import annotations
            import dataclasses, typing
            @dataclasses.dataclass
            class Tenant:
                name: str
                pool: typing.Optional[str] = None
            from kumotwist import kumo
            @kumo.on("get_egress_pool")
            def pool(name):
                return typing.get_type_hints(Tenant)
            """
        )
        policy = load_policy([self.place / "policy.py"], self.clock, self.services)
        self.assertEqual(list(policy.first("get_egress_pool", "x")), ["name", "pool"])


class ContextTests(PolicyCase):
    """The services are there for a policy, and for nobody else."""

    def test_a_throttle_can_be_made_where_the_policy_loads(self) -> None:
        policy = self.load("""
            THROTTLE = kumo.make_throttle("t", "1/s")
            kumo.on("get_egress_pool", lambda: THROTTLE.throttle().throttled)
        """)
        self.assertEqual([policy.first("get_egress_pool", "x") for _ in range(2)], [False, True])

    def test_outside_there_is_nothing(self) -> None:
        self.load("")
        with self.assertRaisesRegex(RuntimeError, "make_message is there for a policy"):
            from kumotwist import kumo

            kumo.make_message("a@example.com", "b@example.com", "x")

    def test_the_services_of_one_policy_are_not_those_of_another(self) -> None:
        text = "kumo.on('get_egress_pool', lambda: kumo.make_message('a@b.example', 'c@d.example', 'x').id)"
        first = self.load(text)
        self.services = self.new_services(2)
        made: list[str] = []

        def message_id() -> str:
            made.append("second")
            return "0" * 32

        self.services = self.services.__class__(
            clock=self.clock, resolver=self.resolver, inject=self._inject, message_id=message_id, epoch=2
        )
        second = self.load(text)
        with entered(self.services):
            first.first("get_egress_pool", "x")
        self.assertEqual(made, [])
        self.assertEqual(second.first("get_egress_pool", "x"), "0" * 32)
        self.assertEqual(made, ["second"])
