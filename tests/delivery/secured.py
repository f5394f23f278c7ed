"""A DNS that says of its answers whether they are authentic, from a table."""

from collections.abc import Mapping
from typing import Any

import dns.rdata
from twisted.internet.defer import Deferred, fail, succeed

from kumotwist.delivery.dnssec import Found

NOBODY = Found(exists=False, ttl=300.0)


def found(*texts: str, kind: str = "TXT", secure: bool = True, alias: bool = False, ttl: float = 600.0) -> Found:
    """An answer with these records; without any, that there are none."""
    records = tuple(dns.rdata.from_text("IN", kind, text) for text in texts)
    return Found(records=records, secure=secure, alias=alias, ttl=ttl)


class Secured:
    """answers: `name KIND` → an answer, a Deferred of one, or an exception; what is not there does not exist."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []

    def find(self, name: str, kind: str) -> "Deferred[Found]":
        key = f"{name} {kind}"
        self.asked.append(key)
        answer = self.answers.get(key, NOBODY)
        if isinstance(answer, Exception):
            return fail(answer)
        return answer if isinstance(answer, Deferred) else succeed(answer)
