"""What MTA-STS records and policies say."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import EnableTls
from kumotwist.delivery.sts_policy import BadPolicy, StsMode, StsPolicy, allows, mode_under, read_policy, read_record

POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"
DISABLED, REQUIRED, REQUIRED_INSECURE = EnableTls.DISABLED, EnableTls.REQUIRED, EnableTls.REQUIRED_INSECURE
OPPORTUNISTIC, INSECURE = EnableTls.OPPORTUNISTIC, EnableTls.OPPORTUNISTIC_INSECURE


def policy(mode: StsMode, *hosts: str) -> StsPolicy:
    return StsPolicy(mode=mode, hosts=hosts or ("mx.example.com",), max_age=86400.0)


class RecordTests(SynchronousTestCase):
    """RFC 8461 section 3.1."""

    def test_the_id_is_found_where_there_is_exactly_one_record(self) -> None:
        for texts, expected in (
            (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
            (["v=STSv1;id=a"], "a"),
            (["v=STSv1 ; id = a ; more=b"], "a"),
            (["v=STSv1; more=b; id=a"], "a"),
            (["v=spf1 -all", "v=STSv1; id=a"], "a"),
            ([], None),
            (["v=spf1 -all"], None),
            (["v=STSv1; id=a", "v=STSv1; id=b"], None),
            (["v=STSv1"], None),
            (["v=STSv1; id="], None),
            (["v=STSv1; id=not-alnum"], None),
            ([f"v=STSv1; id={'a' * 33}"], None),
            (["v=STSv2; id=a"], None),
            (["id=a; v=STSv1"], None),
        ):
            self.assertEqual(read_record(texts), expected, texts)


class PolicyTests(SynchronousTestCase):
    """RFC 8461 section 3.2."""

    def test_a_policy_is_read(self) -> None:
        found = read_policy(POLICY)
        self.assertEqual(found, StsPolicy(mode=StsMode.ENFORCE, hosts=("mx1.example.com", "*.example.net"), max_age=604800.0))

    def test_bare_line_feeds_unknown_fields_and_capitals_are_borne(self) -> None:
        text = b"version: STSv1\nmode: testing\nnew: field\nmx: MX1.Example.com.\nmax_age: 60\nmode: enforce\n\nno colon\n"
        self.assertEqual(read_policy(text), StsPolicy(mode=StsMode.TESTING, hosts=("mx1.example.com",), max_age=60.0))

    def test_none_needs_no_host(self) -> None:
        self.assertEqual(read_policy(b"version: STSv1\nmode: none\nmax_age: 0\n").mode, StsMode.NONE)

    def test_an_age_beyond_a_year_is_a_year(self) -> None:
        self.assertEqual(read_policy(POLICY.replace(b"604800", b"9999999999")).max_age, 31_557_600.0)

    def test_what_is_no_policy_is_none(self) -> None:
        for text, why in (
            (POLICY.replace(b"STSv1", b"STSv2"), "its version is not STSv1"),
            (POLICY.replace(b"version", b"verzion"), "its version is not STSv1"),
            (POLICY.replace(b"enforce", b"enforced"), "it has no mode that is known"),
            (POLICY.replace(b"mode:", b"moda:"), "it has no mode that is known"),
            (POLICY.replace(b"604800", b"-1"), "it has no max_age"),
            (POLICY.replace(b"604800", b"1e9"), "it has no max_age"),
            (POLICY.replace(b"max_age", b"max_aeg"), "it has no max_age"),
            (POLICY.replace(b"mx:", b"mX:"), "it names no host"),
            (b"\xff\xfe", "it is not UTF-8"),
            (b"", "its version is not STSv1"),
            (b"<html>404</html>", "its version is not STSv1"),
        ):
            with self.assertRaises(BadPolicy) as raised:
                read_policy(text)
            self.assertEqual(str(raised.exception), why)


class AllowsTests(SynchronousTestCase):
    """RFC 8461 section 4.1."""

    def test_names_and_patterns(self) -> None:
        for pattern, host, expected in (
            ("mx.example.com", "mx.example.com", True),
            ("mx.example.com", "MX.example.com.", True),
            ("mx.example.com", "mx2.example.com", False),
            ("*.example.com", "mx.example.com", True),
            ("*.example.com", "a.mx.example.com", False),
            ("*.example.com", "example.com", False),
            ("*.example.com", "mxexample.com", False),
            ("*.com", "example.com", True),
            ("*", "com", False),
            ("m*.example.com", "mx.example.com", False),
        ):
            self.assertIs(allows(policy(StsMode.ENFORCE, pattern), host), expected, (pattern, host))

    def test_one_of_several_is_enough(self) -> None:
        self.assertTrue(allows(policy(StsMode.ENFORCE, "a.example.com", "*.example.net"), "mx.example.net"))

    def test_only_enforce_forbids(self) -> None:
        for one in (None, policy(StsMode.TESTING), policy(StsMode.NONE)):
            self.assertTrue(allows(one, "elsewhere.example.org"))


class ModeTests(SynchronousTestCase):
    """`enable_tls` under a policy."""

    def test_every_mode_under_every_policy(self) -> None:
        for configured, testing, enforce in (
            (DISABLED, INSECURE, REQUIRED),
            (OPPORTUNISTIC, INSECURE, REQUIRED),
            (INSECURE, INSECURE, REQUIRED),
            (REQUIRED_INSECURE, REQUIRED_INSECURE, REQUIRED),
            (REQUIRED, REQUIRED, REQUIRED),  # testing never lowers it (in the model it does)
        ):
            self.assertIs(mode_under(None, configured), configured)
            self.assertIs(mode_under(policy(StsMode.NONE), configured), configured)
            self.assertIs(mode_under(policy(StsMode.TESTING), configured), testing, configured)
            self.assertIs(mode_under(policy(StsMode.ENFORCE), configured), enforce, configured)
