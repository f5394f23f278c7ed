"""Webhooks against a real web server on loopback: what arrives there, and what its answers mean."""

import gzip
import hmac
import json
import os
from base64 import b64decode
from hashlib import sha256
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from kumotwist.config.keys import KeyData
from kumotwist.config.log_hooks import FileHook, WebhookFormat, WebhookHook
from kumotwist.publishing.file import RecordFile
from kumotwist.publishing.source import Record
from kumotwist.publishing.target import NeverTaken, NotTaken
from kumotwist.publishing.webhook import Webhook, encoded
from tests.publishing.logs import record

TWO = [Record("Delivery", record(1)), Record("Bounce", record(2, "Bounce"))]


class Receiver(Resource):
    """Notes each request, and answers with the next code; `silence` is no answer at all."""

    isLeaf = True  # noqa: N815  Twisted looks for it

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.codes: list[Any] = []

    def render_POST(self, request: Any) -> Any:
        headers = {name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()}
        self.requests.append((headers, request.content.read()))
        code = self.codes.pop(0) if self.codes else 200
        if code == "silence":
            return NOT_DONE_YET
        request.setResponseCode(code)
        return b"because\nof \x1b[31mthis"


class WebhookTests(TestCase):
    def setUp(self) -> None:
        self.receiver = Receiver()
        self.port = reactor.listenTCP(0, Site(self.receiver), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(self.port.stopListening)
        self.url = f"http://127.0.0.1:{self.port.getHost().port}/records"

    def webhook(self, **settings: Any) -> Webhook:
        hook = WebhookHook(name="one", url=settings.pop("url", self.url), **settings)
        made = Webhook(hook, reactor, BrowserLikePolicyForHTTPS(), None, "KumoTwist/test")
        self.addCleanup(lambda: Deferred.fromCoroutine(made.close()))
        return made

    async def test_a_batch_is_an_array_of_records_with_their_ids(self) -> None:
        await self.webhook().send(TWO)
        [(headers, body)] = self.receiver.requests
        self.assertEqual([one["record_id"] for one in json.loads(body)], [one.id for one in TWO])
        self.assertEqual([one["n"] for one in json.loads(body)], [1, 2])
        self.assertEqual((headers["content-type"], headers["user-agent"]), ("application/json", "KumoTwist/test"))

    async def test_connections_are_kept(self) -> None:
        webhook = self.webhook()
        for _ in range(5):
            await webhook.send(TWO)
        self.assertEqual(len(self.receiver.requests), 5)

    async def test_gzip_headers_and_basic_authentication_arrive(self) -> None:
        secret = KeyData("pass:wörd".encode())
        await self.webhook(gzip=True, headers={"X-Customer": "7"}, username="joe", password=secret).send(TWO)
        [(headers, body)] = self.receiver.requests
        self.assertEqual(len(json.loads(gzip.decompress(body))), 2)
        self.assertEqual((headers["content-encoding"], headers["x-customer"]), ("gzip", "7"))
        self.assertEqual(b64decode(headers["authorization"].removeprefix("Basic ")).decode(), "joe:pass:wörd")

    async def test_a_bearer_token_is_read_from_its_file_each_time(self) -> None:
        path = self.mktemp()
        webhook = self.webhook(bearer_token=os.path.abspath(path))
        for token in ("first", "second"):
            with open(path, "w") as file:
                file.write(token + "\n")
            await webhook.send(TWO)
        self.assertEqual([one["authorization"] for one, _ in self.receiver.requests], ["Bearer first", "Bearer second"])

    async def test_a_secret_that_cannot_be_had_is_waited_for(self) -> None:
        with self.assertRaisesRegex(NotTaken, "secret"):
            await self.webhook(bearer_token=os.path.abspath(self.mktemp())).send(TWO)
        self.assertEqual(self.receiver.requests, [])

    async def test_the_signature_covers_id_time_and_body(self) -> None:
        await self.webhook(signing_key=KeyData(b"key")).send(TWO)
        [(headers, body)] = self.receiver.requests
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        self.assertEqual(b64decode(headers["webhook-signature"].removeprefix("v1,")), hmac.new(b"key", signed, sha256).digest())

    async def test_a_batch_that_is_sent_again_has_the_same_id(self) -> None:
        webhook = self.webhook(signing_key=KeyData(b"key"))
        await webhook.send(TWO)
        await webhook.send(TWO)
        await webhook.send(TWO[:1])
        first, again, other = [headers["webhook-id"] for headers, _ in self.receiver.requests]
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    async def test_what_each_answer_means(self) -> None:
        outcomes = {
            **dict.fromkeys((200, 201, 202, 204), None),
            **dict.fromkeys((301, 401, 403, 404, 408, 429, 500, 502, 503, 504), NotTaken),
            **dict.fromkeys((400, 413, 415, 422), NeverTaken),
        }
        webhook = self.webhook()
        found = {}
        for code in outcomes:
            self.receiver.codes = [code]
            try:
                await webhook.send(TWO)
                found[code] = None
            except (NotTaken, NeverTaken) as fault:
                found[code] = type(fault)
                self.assertIn(f"answered {code}", str(fault))
                self.assertTrue(str(fault).isprintable(), fault)
        self.assertEqual(found, outcomes)

    async def test_no_answer_and_nobody_there_are_tried_again(self) -> None:
        self.receiver.codes = ["silence"]
        with self.assertRaises(NotTaken):
            await self.webhook(timeout=0.2).send(TWO)
        with self.assertRaisesRegex(NotTaken, "refused"):
            await self.webhook(url="http://127.0.0.1:1/").send(TWO)


class BodyTests(SynchronousTestCase):
    def test_the_forms_of_a_body(self) -> None:
        def body(**settings: Any) -> bytes:
            return encoded(TWO[:1], WebhookHook(name="one", url="http://x/", **settings))

        one = TWO[0].marked
        self.assertEqual(body(), b"[" + one + b"]")
        self.assertEqual(body(batch_size=1), one)
        self.assertEqual(body(batch_size=1, format=WebhookFormat.JSON_LINES), one + b"\n")
        self.assertEqual(gzip.decompress(body(gzip=True)), b"[" + one + b"]")


class FileTests(SynchronousTestCase):
    def send(self, path: str) -> None:
        self.successResultOf(Deferred.fromCoroutine(RecordFile(FileHook(name="one", path=path), maybeDeferred).send(TWO)))

    def test_records_are_appended_line_by_line_and_a_rotated_file_is_made_anew(self) -> None:
        path = self.mktemp()
        self.send(path)
        self.send(path)
        os.rename(path, path + ".1")
        self.send(path)
        with open(path + ".1", "rb") as old, open(path, "rb") as new:
            self.assertEqual([json.loads(line)["n"] for line in [*old, *new]], [1, 2, 1, 2, 1, 2])

    def test_a_file_that_cannot_be_written_is_waited_for(self) -> None:
        with self.assertRaisesRegex(NotTaken, "No such file"):
            hook = FileHook(name="one", path=os.path.join(self.mktemp(), "none", "file"))
            self.failureResultOf(Deferred.fromCoroutine(RecordFile(hook, maybeDeferred).send(TWO))).raiseException()
