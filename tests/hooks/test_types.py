"""A policy is checked by mypy, strictly, with the types that are shipped."""

import re
from pathlib import Path

from mypy import api
from twisted.trial.unittest import SynchronousTestCase

from tests.hooks.test_guide import SNIPPETS

PROJECT = Path(__file__).resolve().parent.parent.parent
GOOD = [
    PROJECT / "conf" / "policy.py",
    *sorted(file for file in (PROJECT / "tests" / "hooks" / "seeds").glob("*.py") if file.name != "__init__.py"),
]

# Each mistake with what mypy has to say about it in that line.
MISTAKES = {
    'kumo.on("get_que_config")': "No overload variant",
    'kumo.on("init", lambda x: None)': "No overload variant|Cannot infer|Value of type",
    'kumo.constructor("make.it", lambda: 3)': "No overload variant|Cannot infer|Value of type",
    "kumo.make_egress_path(conection_limit=3)": 'Unexpected keyword argument "conection_limit"',
    "kumo.make_egress_path(enable_pipelining=3)": 'incompatible type "int"',
    'kumo.make_egress_path(enable_tls="required")': "incompatible type",
    "kumo.make_queue_config(egress_pool=3)": 'incompatible type "int"',
    "kumo.make_egress_source(source_address=10)": "incompatible type",
    'kumo.make_egress_pool(name="p", entries=[3])': 'incompatible type "list.int."',
    "kumo.regect(500, 'no')": 'has no attribute "regect"',
    "kumo.dns.lookup_txt('x')": 'has no attribute "lookup_txt"',
    'kumo.start_esmtp_listener(listn="x")': 'Unexpected keyword argument "listn"',
    'kumo.memoize(print, ttl="1 minute", capacity=1)': "No overload variant",
    "message.get_metta('x')": 'has no attribute "get_metta"',
    "message.sender.domian": 'has no attribute "domian"',
    "message.set_meta(3, 4)": 'incompatible type "int"',
    "remembered(3)": 'incompatible type "int"',
    "remembered('x').upper()": "has no attribute",
    'kumo.reject("500", "no")': 'incompatible type "str"',  # the last: what follows it is never reached
}
HANDLERS = {
    ("get_queue_config", "def f(domain: int) -> kumo.QueueConfig: return kumo.make_queue_config()"): "Value of type variable",
    ("get_queue_config", "def f(domain: str) -> str: return domain"): "Value of type variable",
    ("get_egress_pool", "def f(a: str, b: str) -> None: return None"): "Value of type variable",
    ("smtp_server_message_received", "def f(msg: kumo.ConnMeta) -> None: return None"): "Value of type variable",
    ("init", "async def f(x: int) -> None: return None"): "Value of type variable",
}
RIGHT = {
    ("init", "def f() -> None: return None"),
    ("init", "async def f() -> None: return None"),
    ("smtp_server_get_dynamic_parameters", "def f(listener: str, conn: kumo.ConnMeta) -> dict[str, object]: return {}"),
    ("smtp_server_connection_accepted", "def f(conn: kumo.ConnMeta) -> None: return None"),
    ("smtp_server_ehlo", "def f(domain: str, conn: kumo.ConnMeta, extensions: list[str]) -> list[str]: return extensions[:1]"),
    ("smtp_server_auth_plain", "def f(authz: str, authc: str, password: str, conn: kumo.ConnMeta) -> bool: return False"),
    ("smtp_server_auth_plain", "async def f(authz: str, authc: str, password: str) -> kumo.AuthInfo: return kumo.AuthInfo()"),
    ("smtp_server_mail_from", "def f(address: kumo.Address, conn: kumo.ConnMeta) -> None: return None"),
    ("get_listener_domain", "def f(domain: str, listener: str, conn: kumo.ConnMeta) -> kumo.ListenerDomain | None: return None"),
    ("smtp_server_rcpt_to", "async def f(address: kumo.Address) -> None: return None"),
    ("smtp_server_data", "def f(msg: kumo.Message, conn: kumo.ConnMeta) -> None: return None"),
    (
        "smtp_server_split_transaction",
        "def f(msg: kumo.Message) -> list[list[str]]: return [[one.email] for one in msg.recipients]",
    ),
    ("smtp_server_message_received", "async def f(msg: kumo.Message, conn: kumo.ConnMeta) -> None: return None"),
    ("smtp_server_rewrite_response", "def f(status: int, text: str, command: str | None) -> tuple[int, str]: return status, text"),
    ("get_queue_config", "def f(domain: str, tenant: str | None, campaign: str | None) -> kumo.QueueConfig | None: return None"),
    ("get_egress_pool", "async def f(name: str) -> kumo.EgressPool: return kumo.make_egress_pool(name=name)"),
    ("get_egress_source", "def f(name: str) -> kumo.EgressSource | None: return None"),
    ("get_egress_path_config", "def f(domain: str, source: str, site: str) -> kumo.EgressPath: return kumo.make_egress_path()"),
    ("throttle_insert_ready_queue", "def f(msg: kumo.Message) -> None: return None"),
    ("requeue_message", "def f(msg: kumo.Message, response: object, context: object) -> None: return None"),
    ("rebind_message", "def f(msg: kumo.Message, data: dict[str, object]) -> None: return None"),
    ("spool_message_enumerated", "def f(msg: kumo.Message) -> None: return None"),
    ("smtp_client_rewrite_delivery_status", "def f(response: str, domain: str) -> int | None: return None"),
}
BEGIN = """
from kumotwist import kumo

@kumo.memoize(name="n", ttl="1 minute", capacity=1)
def remembered(key: str) -> int:
    return len(key)

def mistakes(message: kumo.Message) -> None:
"""


class TypeTests(SynchronousTestCase):
    """One run of mypy, since it takes its time."""

    maxDiff = None

    def check(self, *files: Path) -> list[str]:
        """What mypy says of these files."""
        arguments = ["--config-file", str(PROJECT / "pyproject.toml"), "--cache-dir", str(PROJECT / ".mypy_cache")]
        arguments += ["--follow-imports", "silent", "--no-error-summary", "--hide-error-context", "--no-color-output"]
        said, broke, _ = api.run([*arguments, *map(str, files)])
        self.assertEqual(broke, "")
        return [line for line in said.splitlines() if ": error: " in line]

    def test_policies_without_mistakes_pass_and_each_mistake_is_found_in_its_line(self) -> None:
        place = Path(self.mktemp()).resolve()
        place.mkdir(parents=True)
        self.assertGreater(len(SNIPPETS), 10)
        right, wrong = place / "right.py", place / "wrong.py"
        right.write_text("from kumotwist import kumo\n" + "".join(self.handler(n, *one) for n, one in enumerate(sorted(RIGHT))))
        lines = BEGIN.splitlines() + [f"    {mistake}" for mistake in MISTAKES]
        lines += "".join(self.handler(n, *one) for n, one in enumerate(HANDLERS)).splitlines()
        wrong.write_text("\n".join(lines) + "\n")
        found = self.check(*GOOD, *self.shown(place), right, wrong)
        self.assertEqual([line for line in found if "wrong.py" not in line], [])
        said = {int(line.split(":")[1]): line for line in reversed(found)}
        first = len(BEGIN.splitlines()) + 1
        missed = [one for n, (one, what) in enumerate(MISTAKES.items(), first) if not re.search(what, said.get(n, ""))]
        first += len(MISTAKES)
        missed += [str(one) for n, (one, what) in enumerate(HANDLERS.items()) if not re.search(what, said.get(first + 2 * n, ""))]
        self.assertEqual(missed, [], "\n".join(found))

    @staticmethod
    def shown(place: Path) -> list[Path]:
        """The policies of the guide, as files."""
        files = []
        for title, text in SNIPPETS.items():
            if title.endswith(".py"):
                files.append(place / f"shown_{title}")
                files[-1].write_text(text, encoding="utf-8")
        return files

    @staticmethod
    def handler(n: int, event: str, function: str) -> str:
        return f'@kumo.on("{event}")\n{function.replace("def f(", f"def f{n}(")}\n'
