"""Who says what holds on a path: rules, the policy, automation."""

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.api.origins import SettingOrigin, origins_shown
from kumotwist.automation.overrides import InForce, Override
from kumotwist.automation.rules import Layer, Rule
from kumotwist.cli.inspection_text import origin_lines
from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Limit
from kumotwist.config.origins import Origin
from kumotwist.config.shaping import Action, AutomationAction, AutomationRule

SET = Action(kind=AutomationAction.SET_CONFIG, name="connection_limit", value=Limit(1))
RULE = Rule(
    id="0123456789abcdef",
    layer=Layer.DEFAULT,
    whose="default",
    order=0,
    said=AutomationRule(regex=("slow",), action=(SET,), duration=60.0),
    place="shaping.toml:7",
)


def in_force() -> Iterator[InForce]:
    override = Override(
        id="1",
        rule=RULE.id,
        action=0,
        path="ip-1->mx@smtp_client",
        source="ip-1",
        site="mx",
        domain="",
        reason="421 slow",
        set_at=0.0,
        expires=60.0,
    )
    yield InForce(name="connection_limit", value=Limit(1), override=override, rule=RULE)


class OriginsTests(SynchronousTestCase):
    def test_each_parameter_is_said_by_who_says_it(self) -> None:
        settings = PathSettings(
            connection_limit=Limit(1), max_ready=7, smtp_port=26, additional_connection_limits={"a": Limit(1), "b": Limit(2)}
        )
        said = {
            "connection_limit": Origin(value=Limit(9), by="example.org", place="shaping.toml:3"),
            "max_ready": Origin(value=7, by="provider p", place="shaping.toml:5"),
            "smtp_port": Origin(value=25, by="default", place="shaping.toml:1"),
            "additional_connection_limits.a": Origin(value=Limit(1), by="default"),
        }
        shown = origins_shown(settings, said, in_force())
        automation = SettingOrigin(
            by="automation 0123456789abcdef of default",
            place="shaping.toml:7",
            until="1970-01-01T00:01:00.000000Z",
            reason="421 slow",
        )
        self.assertEqual(
            shown,
            {
                "connection_limit": automation,
                "max_ready": SettingOrigin(by="provider p", place="shaping.toml:5"),
                "smtp_port": SettingOrigin(by="policy"),
                "additional_connection_limits.a": SettingOrigin(by="default"),
                "additional_connection_limits.b": SettingOrigin(by="policy"),
            },
        )

    def test_people_are_told_in_a_line_each(self) -> None:
        told = {
            "max_ready": {"by": "provider p", "place": "shaping.toml:5"},
            "connection_limit": {"by": "automation 01", "place": "shaping.toml:7", "until": "1970-01-01T00:01:00.000000Z"},
        }
        self.assertEqual(
            origin_lines(told, None),
            [
                "said by:",
                "  connection_limit: automation 01 (shaping.toml:7) until 1970-01-01T00:01:00.000000Z",
                "  max_ready: provider p (shaping.toml:5)",
            ],
        )
        self.assertEqual(origin_lines({}, None), [])
