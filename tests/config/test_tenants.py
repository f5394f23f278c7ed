"""The layout of the model's queue helper, with what only tenants have."""

from kumotwist.config.compose import pool_of_sender, queue_settings
from kumotwist.config.fields import Rate
from kumotwist.config.queues import (
    CampaignSettings,
    QueueSettings,
    QueueStrategy,
    RefreshStrategy,
    Shrinking,
    ShrinkRule,
    TenantSettings,
)
from tests.config.files import ConfigTestCase, use_all_values
from tests.config.test_read import layout


class TenantTests(ConfigTestCase):
    def setUp(self) -> None:
        super().setUp()
        use_all_values(self)

    def test_the_whole_layout_of_the_model(self) -> None:
        config = self.read(
            "egress: {pool: {pool-1: {}}}\nqueues: {files: [queues.toml]}\n", queues_toml=layout("queues_in_full.toml")
        )
        self.assertEqual(
            config.queues.tenant,
            {
                "mytenant": TenantSettings(
                    options={"egress_pool": "pool-1", "max_message_rate": Rate(10, 1.0), "refresh_strategy": RefreshStrategy.EPOCH},
                    require_authz=("scott",),
                    overall_max_message_rate=Rate(100, 60.0),
                    campaigns={"welcome": CampaignSettings(overall_max_message_rate=Rate(20, 60.0)), "news": CampaignSettings()},
                ),
                "other": TenantSettings(domain_to_pool={"a.example": "pool-1", "*.b.example": "pool-1"}),
            },
        )
        self.assertEqual(queue_settings(config.queues, "example.com", "mytenant", "welcome").max_age, 3600.0)
        self.assertEqual(queue_settings(config.queues, "example.com", "mytenant", "other").max_age, 5 * 3600.0)

    def test_files_merge_down_to_campaigns_and_senders(self) -> None:
        config = self.read(
            "egress: {pool: {p: {}, q: {}}}\nqueues:\n  files: [a.yaml]\n  tenant:\n    t: {domain_to_pool: {b.example: q}, "
            "require_authz: [b], campaigns: {c: {overall_max_message_rate: 2/s}, d: {}}, overall_max_message_rate: null}\n",
            a_yaml="tenant:\n  t: {domain_to_pool: {A.example: p, b.example: p}, require_authz: [a],\n"
            "      overall_max_message_rate: 1/s,\n"
            "      campaigns: {c: {overall_max_message_rate: 1/s}, e: {overall_max_message_rate: 3/s}}}\n",
        )
        self.assertEqual(
            config.queues.tenant["t"],
            TenantSettings(
                domain_to_pool={"a.example": "p", "b.example": "q"},
                require_authz=("b",),
                campaigns={
                    "c": CampaignSettings(overall_max_message_rate=Rate(2, 1.0)),
                    "e": CampaignSettings(overall_max_message_rate=Rate(3, 1.0)),
                    "d": CampaignSettings(),
                },
            ),
        )

    def test_every_parameter_of_a_queue(self) -> None:
        config = self.read(
            "queues: {queue: {default: {refresh_interval: 5, refresh_strategy: Epoch, strategy: SkipList, "
            "timerwheel_tick_interval: 2 s, "
            "shrink_policy: [{interval: 1 hour, policy: NoShrink}, {interval: 1 day, policy: ShrinkData}]}}}\n"
        )
        self.assertEqual(
            QueueSettings(**config.queues.queue["default"].options),
            QueueSettings(
                refresh_interval=5.0,
                refresh_strategy=RefreshStrategy.EPOCH,
                strategy=QueueStrategy.SKIP_LIST,
                timerwheel_tick_interval=2.0,
                shrink_policy=(
                    ShrinkRule(interval=3600.0, policy=Shrinking.NO_SHRINK),
                    ShrinkRule(interval=86400.0, policy=Shrinking.SHRINK_DATA),
                ),
            ),
        )

    def test_the_pool_of_a_sender(self) -> None:
        tenant = TenantSettings(domain_to_pool={"a.example": "a", "*.a.example": "below a", "b.example": "b"})
        for domain, pool in (
            ("a.example", "a"),
            ("A.Example", "a"),
            ("x.a.example", "below a"),
            ("y.x.a.example", "below a"),
            ("b.example", "b"),
            ("x.b.example", None),
            ("example", None),
            ("", None),
        ):
            with self.subTest(domain):
                self.assertEqual(pool_of_sender(tenant, domain), pool)

    def test_a_policy_may_know_pools_that_no_file_has(self) -> None:
        text = "queues: {tenant: {t: {egress_pool: p, domain_to_pool: {a.example: q}}}}\negress: {pool: {r: {s: {}}}}\n"
        self.assertEqual(
            self.faults(text),
            [
                'main.yaml:1:36: egress_pool: "p" is no pool, expected the name of a pool in egress.pool',
                'main.yaml:1:67: domain_to_pool: a.example: "q" is no pool, expected the name of a pool in egress.pool',
                'main.yaml:2:21: pool "r" names "s", which is no source, expected the name of a source',
            ],
        )
        config = self.read("policy: [policy.py]\n" + text, policy_py="")
        self.assertEqual(
            [(fault.line, fault.unless) for fault in config.doubts],
            [(2, "get_egress_pool"), (2, "get_egress_pool"), (3, "get_egress_source")],
        )
