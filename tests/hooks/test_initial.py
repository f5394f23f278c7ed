"""What `pre_init` and `init` handlers define."""

from twisted.internet.defer import Deferred

from kumotwist.config.bounces import BounceRule
from kumotwist.config.faults import ConfigFaults
from kumotwist.config.listeners import ListenerSettings
from kumotwist.config.server import Config, LogSettings, SpoolSettings
from kumotwist.hooks.initial import Definitions, NotInInit, run_init
from tests.hooks.around import Answers, PolicyCase


class InitCase(PolicyCase):
    """Policies with handlers of init."""

    def defined(self, *texts: str, config: Config | None = None) -> Definitions:
        return self.successResultOf(run_init(self.load(*texts), config))

    def init_faults(self, *texts: str, config: Config | None = None) -> list[str]:
        failure = self.failureResultOf(run_init(self.load(*texts), config), ConfigFaults)
        faults = failure.value
        assert isinstance(faults, ConfigFaults)
        return [str(fault).replace(f"{self.place}/", "") for fault in faults.faults]


class DefinitionTests(InitCase):
    """What comes of them."""

    def test_without_handlers_nothing_is_defined(self) -> None:
        self.assertEqual(self.defined(""), Definitions())

    def test_listeners_spool_and_logs(self) -> None:
        found = self.defined("""
            @kumo.on("init")
            def init():
                kumo.start_esmtp_listener(listen="0.0.0.0:25", hostname="mx.example.com", relay_hosts=["10.0.0.0/8"])
                kumo.start_esmtp_listener({"listen": "[::]:25"})
                kumo.define_spool(path="spool", flush=False)
                kumo.configure_local_logs(log_dir="/var/log/mail", headers=["Subject"], max_segment_duration="1 minute")
        """)
        self.assertEqual([one.listen for one in found.esmtp_listeners], ["0.0.0.0:25", "[::]:25"])
        self.assertEqual(found.esmtp_listeners[0].hostname, "mx.example.com")
        self.assertEqual(found.spool, {"path": str(self.place / "spool"), "flush": False})
        self.assertEqual(found.logs, {"log_dir": "/var/log/mail", "headers": ("Subject",), "max_segment_duration": 60.0})

    def test_pre_init_comes_before_init_and_files_in_their_order(self) -> None:
        text = """
            @kumo.on("init")
            def init():
                kumo.start_esmtp_listener(listen="127.0.0.1:3{n}")
            @kumo.on("pre_init")
            def pre_init():
                kumo.start_esmtp_listener(listen="127.0.0.1:2{n}")
        """
        found = self.defined(text.replace("{n}", "1"), text.replace("{n}", "2"))
        self.assertEqual([one.listen[-2:] for one in found.esmtp_listeners], ["21", "22", "31", "32"])

    def test_they_add_to_what_the_configuration_says(self) -> None:
        config = Config(
            hostname="mx.example.com",
            esmtp_listeners=(ListenerSettings(listen="127.0.0.1:25"),),
            spool=SpoolSettings(path="/spool", kind="local_disk"),
            logs=LogSettings(log_dir="/logs", headers=("Subject",)),
        )
        text = """
            @kumo.on("init")
            def init():
                kumo.start_esmtp_listener(listen="127.0.0.1:26")
                kumo.define_spool(flush=False)
                kumo.configure_local_logs(log_dir="/other")
        """
        made = self.defined(text, config=config).over(config)
        self.assertEqual([one.listen for one in made.esmtp_listeners], ["127.0.0.1:25", "127.0.0.1:26"])
        self.assertEqual(made.spool, SpoolSettings(path="/spool", kind="local_disk", flush=False))
        self.assertEqual(made.logs, LogSettings(log_dir="/other", headers=("Subject",)))
        self.assertEqual(Definitions().over(config), config)

    def test_a_handler_may_wait(self) -> None:
        self.resolver = Answers({"gmail.com": (("mx1.example.org",),)})
        self.resolver.late = True
        self.services = self.new_services(1)
        policy = self.load("""
            SITES = {}
            @kumo.on("init")
            async def init():
                SITES["gmail.com"] = (await kumo.dns.lookup_mx("gmail.com")).site_name
                kumo.start_esmtp_listener(listen="127.0.0.1:25")
            kumo.on("get_egress_pool", lambda: SITES)
        """)
        done = run_init(policy)
        self.assertNoResult(done)
        self.resolver.come()
        self.assertEqual(len(self.successResultOf(done).esmtp_listeners), 1)
        self.assertEqual(policy.first("get_egress_pool", "x"), {"gmail.com": "mx1.example.org"})

    def test_a_handler_may_return_a_deferred(self) -> None:
        policy = self.load("import tests.hooks.test_initial as here\nkumo.on('init', lambda: here.WAITING[0])")
        WAITING[:] = [Deferred()]
        done = run_init(policy)
        self.assertNoResult(done)
        WAITING[0].callback(None)
        self.assertEqual(self.successResultOf(done), Definitions())


WAITING: list[Deferred[None]] = []


class FaultTests(InitCase):
    """What can be wrong, with file and line."""

    def test_each_handler_that_breaks_is_one_fault(self) -> None:
        found = self.init_faults(
            """
            @kumo.on("init")
            def first():
                kumo.start_esmtp_listener(listen="nowhere", hostnam="x")

            @kumo.on("init")
            async def second():
                kumo.reject(500, "no")
            """,
            """
            @kumo.on("init")
            def third():
                raise SystemExit
            """,
        )
        self.assertEqual(
            [fault.split(", ")[0] for fault in found],
            [
                'policy.py:5: BadParameters: start_esmtp_listener: listen: "nowhere" has no port from 0 to 65535',
                "policy.py:9: Rejection: 500 no",
                "policy1.py:5: ends the process",
            ],
        )
        self.assertIn('unknown key "hostnam" in esmtp_listeners, did you mean "hostname"?', found[0])

    def test_two_listeners_cannot_have_one_address(self) -> None:
        text = 'kumo.on("init", lambda: [kumo.start_esmtp_listener(listen="127.0.0.1:{port}") for _ in range({n})])'
        (fault,) = self.init_faults(text.format(port=25, n=2))
        self.assertIn('listen "127.0.0.1:25" is taken by the listener of', fault)
        self.assertEqual(len(self.defined(text.format(port=0, n=2)).esmtp_listeners), 2)
        config = Config(hostname="x.example", esmtp_listeners=(ListenerSettings(listen="127.0.0.1:25"),))
        (fault,) = self.init_faults(text.format(port=25, n=1), config=config)
        self.assertIn("is taken by the listener of the configuration", fault)
        config = Config(hostname="x.example", esmtp_listeners=(ListenerSettings(listen="0.0.0.0:25"),))
        (fault,) = self.init_faults(text.format(port=25, n=1), config=config)
        self.assertIn('listen "127.0.0.1:25" and "0.0.0.0:25" of the configuration are one address', fault)

    def test_the_spool_is_defined_once(self) -> None:
        for call in ("define_spool(flush=True)", "configure_local_logs(headers=[])"):
            (fault,) = self.init_faults(f"""
                @kumo.on("init")
                def init():
                    kumo.{call}
                    kumo.{call}
            """)
            self.assertIn("called a second time, first at ", fault)
            self.assertTrue(fault.startswith("policy.py:6: "), fault)

    def test_a_bounce_classifier_takes_the_place_of_the_configurations(self) -> None:
        text = """
            @kumo.on("init")
            def init():
                kumo.configure_bounce_classifier(files=["rules.toml"], cache_size=7)
        """
        (self.place / "rules.toml").write_text("[rules]\nMine = ['a phrase']\n")
        found = self.defined(text)
        assert found.bounce_classifier is not None
        self.assertEqual(found.bounce_classifier.rules, (BounceRule("Mine", "a phrase"),))
        self.assertIn(str(self.place / "rules.toml"), self.services.files)
        whole = found.over(Config(hostname="mx.example.com"))
        self.assertEqual((whole.bounce_classifier.cache_size, whole.bounce_classifier.rules[0].label), (7, "Mine"))
        (fault,) = self.init_faults(text.replace("rules.toml", "rule.toml"))
        self.assertIn('configure_bounce_classifier: "rule.toml" cannot be read', fault)

    def test_elsewhere_nothing_can_be_defined(self) -> None:
        for call in ("start_esmtp_listener()", "define_spool()", "configure_local_logs()"):
            (fault,) = self.faults(f"kumo.{call}")
            self.assertIn(f"kumo.{call[:-2]}: only a handler of init can call it", fault)
        policy = self.load("kumo.on('get_egress_pool', lambda: kumo.start_esmtp_listener())")
        self.successResultOf(run_init(policy))
        with self.assertRaises(NotInInit):
            policy.handlers("get_egress_pool")[0].call()

    def test_what_this_version_does_not_have_is_named(self) -> None:
        for name in ("start_proxy_listener", "configure_redis_throttles"):
            (fault,) = self.init_faults(f"kumo.on('init', lambda: kumo.{name}(listen='x'))")
            self.assertEqual(fault, f"policy.py:2: AttributeError: kumo.{name} is not implemented yet")
