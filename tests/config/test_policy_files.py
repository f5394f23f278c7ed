"""`policy`: the files that it names, and what is left to them."""

from kumotwist.config.faults import ConfigFaults
from kumotwist.config.read import examine, read_config, unanswered
from tests.config.files import ConfigTestCase, use_all_values

DOUBTFUL = "queues: {queue: {default: {egress_pool: bulk}}}\n"


class PolicyFileTests(ConfigTestCase):
    def setUp(self) -> None:
        super().setUp()
        use_all_values(self)

    def test_one_file_or_several_in_their_order(self) -> None:
        here = self.directory.absolute()
        self.write("b.py", "")
        self.write("policies/a.py", "this is not even Python\n")
        for text, expected in (
            ("policy: b.py", ("b.py",)),
            ("policy: [b.py, policies/a.py]", ("b.py", "policies/a.py")),
            (f"policy: [{here}/policies/a.py, ./b.py]", ("policies/a.py", "b.py")),
            ("policy: []\nnode_id: null", ()),
            ("policy: null", ()),
            ("policy:", ()),
        ):
            with self.subTest(text):
                config = self.read(text)
                self.assertEqual(config.policy, tuple(str(here / name) for name in expected))
                self.assertEqual(config.files, (str(here / "main.yaml"), *config.policy))

    def test_names_are_relative_to_the_file_that_names_them(self) -> None:
        self.write("policy.py", "")
        path = self.write("conf/main.yaml", "policy: ../policy.py\n")
        self.assertEqual(read_config(path).policy, (str(self.directory.absolute() / "policy.py"),))

    def test_a_directory_is_no_file(self) -> None:
        (self.directory / "policy.py").mkdir()
        self.assertEqual(self.faults("policy: policy.py"), ['main.yaml:1:9: policy: "policy.py" cannot be read: Is a directory'])

    def test_what_a_policy_may_answer_is_a_doubt_until_it_is_loaded(self) -> None:
        config = self.read("policy: p.py\n" + DOUBTFUL, p_py="")
        (doubt,) = config.doubts
        self.assertEqual((doubt.line, doubt.unless), (2, "get_egress_pool"))
        self.assertEqual(unanswered(config.doubts, {"get_egress_pool"}), ())
        self.assertEqual(unanswered(config.doubts, {"get_egress_source"}), config.doubts)

    def test_without_a_policy_it_is_a_fault(self) -> None:
        for text in ("", "policy: []\n", "policy: null\n"):
            self.assertEqual(len(self.faults(text + DOUBTFUL)), 1)

    def test_half_a_policy_puts_nothing_in_doubt(self) -> None:
        self.write("p.py", "")
        found = examine(self.write("main.yaml", "policy: [p.py, absent.py]\n" + DOUBTFUL))
        self.assertEqual((len(found.faults), found.doubts, found.config), (1, (), None))
        self.assertEqual(found.policy, (str(self.directory.absolute() / "p.py"),))

    def test_faults_and_doubts_are_told_apart(self) -> None:
        self.write("p.py", "")
        found = examine(self.write("main.yaml", "policy: p.py\nhostnam: a\n" + DOUBTFUL))
        self.assertEqual([fault.line for fault in found.faults], [2])
        self.assertEqual([fault.line for fault in found.doubts], [3])
        raised = self.assertRaises(ConfigFaults, read_config, self.directory / "main.yaml")
        assert isinstance(raised, ConfigFaults)
        self.assertEqual(raised.faults, found.faults)
