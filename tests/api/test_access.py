"""Who may ask what, as tables."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.api.access import finder, judged, resources
from kumotwist.config.fields import BadValue
from kumotwist.config.http import TRUSTED, parse_rules
from kumotwist.hooks.connection import AuthInfo, Identity

NOBODY = AuthInfo(peer_address="203.0.113.9")
NEAR = AuthInfo(peer_address="127.0.0.1", groups=(TRUSTED,))
KNOWN = AuthInfo(peer_address="203.0.113.9", identities=(Identity("daniel", "HttpBasicAuth"),))

# (method, path) → who may by default: nobody in particular, a trusted address, somebody who logged in
DEFAULTS = {
    ("GET", "/api/check-liveness/v1"): (True, True, True),
    ("POST", "/api/inject/v1"): (False, True, True),
    ("GET", "/api/inject/v1"): (False, False, False),
    ("GET", "/api/admin/bounce/v1"): (False, True, False),
    ("POST", "/api/admin/bounce/v1"): (False, True, False),
    ("DELETE", "/api/admin/bounce/v1"): (False, True, False),
    ("PUT", "/api/admin/bounce/v1"): (False, False, False),
    ("GET", "/api/machine-info"): (False, True, False),
    ("GET", "/metrics"): (False, True, False),
    ("GET", "/metrics.json"): (False, True, False),
    ("POST", "/api/xfer/inject/v1"): (False, True, False),
    ("GET", "/openapi.json"): (False, True, True),
    ("GET", "/"): (False, False, False),
    ("GET", "/api/unknown"): (False, False, False),
}

# (criteria, who) → whether it is meant
CRITERIA = [
    ("Any", NOBODY, True),
    ("Authenticated", NEAR, False),
    ("Authenticated", KNOWN, True),
    ("Unauthenticated", NEAR, True),
    ({"Individual": "daniel"}, KNOWN, True),
    ({"Individual": "someone"}, KNOWN, False),
    ({"Identity": {"Individual": "daniel"}}, KNOWN, True),
    ({"Group": TRUSTED}, NEAR, True),
    ({"Machine": "203.0.113.9"}, NOBODY, True),
    ({"MachineSet": ["203.0.113.0/24"]}, NOBODY, True),
    ({"MachineSet": ["203.0.113.0/24"]}, NEAR, False),
    ({"AllOf": ["Authenticated", {"Machine": "203.0.113.9"}]}, KNOWN, True),
    ({"AnyOf": ["Authenticated", {"Machine": "203.0.113.9"}]}, NOBODY, True),
    ({"Not": "Authenticated"}, KNOWN, False),
]


class AccessTests(SynchronousTestCase):
    def allowed(self, method: str, path: str, who: AuthInfo) -> bool:
        find = finder({})
        lists = (find(resource) for resource in resources("127.0.0.1:8000", path))
        found = (judged(rules, method, who) for rules in lists if rules is not None)
        return bool(next((one for one in found if one is not None), False))

    def test_what_holds_where_nobody_says_otherwise(self) -> None:
        found = {key: tuple(self.allowed(*key, who) for who in (NOBODY, NEAR, KNOWN)) for key in DEFAULTS}
        self.assertEqual(found, DEFAULTS)

    def test_whom_criteria_mean(self) -> None:
        for criteria, who, meant in CRITERIA:
            with self.subTest((criteria, who)):
                rules = parse_rules([{"allow": True, "privileges": ["GET"], "criteria": criteria}])
                self.assertEqual(judged(rules, "GET", who), True if meant else None)

    def test_the_first_rule_that_fits_decides(self) -> None:
        rules = parse_rules(
            [
                {"allow": False, "privileges": ["GET"], "criteria": {"Individual": "daniel"}},
                {"allow": True, "privileges": ["GET", "POST"], "criteria": "Any"},
            ]
        )
        self.assertEqual([judged(rules, one, KNOWN) for one in ("GET", "POST", "DELETE")], [False, True, None])

    def test_lists_are_looked_for_from_the_path_upwards(self) -> None:
        self.assertEqual(
            list(resources("[::1]:80", "/api/admin//x")),
            [
                "http_listener/[::1]:80/api/admin/x",
                "http_listener/[::1]:80/api/admin",
                "http_listener/[::1]:80/api",
                "http_listener/[::1]:80",
                "http_listener/*/api/admin/x",
                "http_listener/*/api/admin",
                "http_listener/*/api",
                "http_listener",
            ],
        )

    def test_a_path_without_end_costs_nothing(self) -> None:
        self.assertLess(len(list(resources("x", "/a" * 100_000))), 30)

    def test_what_is_no_list_is_refused(self) -> None:
        good = {"allow": True, "privileges": ["GET"], "criteria": "Any"}
        nested: object = "Any"
        for _ in range(30):
            nested = {"Not": nested}
        for given in (5, [5], [good | {"allow": 1}], [good | {"privileges": []}], [good | {"privileges": ["FLY"]}],
                      [good | {"criteria": "Somebody"}], [good | {"criteria": {"Machine": "nonsense"}}], [good | {"x": 1}],
                      [good | {"criteria": nested}]):  # fmt: skip
            with self.subTest(given):
                self.assertRaises(BadValue, parse_rules, given)
