"""`POST /api/inject/v1` as an endpoint: injection's questions and answers as HTTP's."""

from typing import Any

import msgspec

from kumotwist.api.endpoint import Call, Endpoint, Problem
from kumotwist.api.reading import problem_of
from kumotwist.injection.idempotency import LONGEST_KEY
from kumotwist.injection.request import InjectV1Request, InjectV1Response
from kumotwist.injection.service import Conflict, Injection, Unavailable
from kumotwist.injection.submission import Submission

_KEY = "idempotency-key"


def inject_endpoint(injection: Injection) -> Endpoint:
    async def run(call: Call) -> InjectV1Response:
        key = _key(call)
        submission = Submission(
            auth=call.auth, peer=call.peer, local=call.local, hostname=call.hostname, listener=call.settings.listen
        )
        try:
            return await injection.inject(call.body, submission, key)
        except (msgspec.MsgspecError, ValueError, RecursionError) as fault:
            raise problem_of(fault) from None
        except Conflict as fault:
            raise Problem(422, f"Error: {fault}") from None
        except Unavailable as fault:
            raise Problem(503, f"Error: {fault}", {"Retry-After": "30"}) from None

    return Endpoint(
        method="POST",
        path="/api/inject/v1",
        summary="Send one content to a list of recipients, each of whom gets a message of their own",
        tag="inject",
        asks=InjectV1Request,
        answers=InjectV1Response,
        read=_as_it_is,
        run=run,
        headers={"Idempotency-Key": "the same key, within a day, gives the same answer and no second mail"},
    )


def _as_it_is(body: bytes) -> Any:
    """Injection reads it itself, its recipients in portions."""
    return body


def _key(call: Call) -> str | None:
    key = call.headers.get(_KEY)
    if key is None:
        return None
    key = key.strip()
    if not key or len(key) > LONGEST_KEY:
        raise Problem(400, f"Idempotency-Key: expected 1 to {LONGEST_KEY} characters")
    return key
