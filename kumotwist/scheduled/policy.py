"""
What a policy is asked about messages that wait: whether one may go on, where one that failed goes, what a reply means.

Each question ends in one call of `then`, at once or when the policy has answered; a policy that breaks has said nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.delivery.by_policy import PROTOCOL as BY_POLICY
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.policy import HookFailed, Policy
from kumotwist.mail.disposition import Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import parse_queue_name
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import INTERNAL, Refusal, Reply

THROTTLE = "throttle_insert_ready_queue"
REQUEUE = "requeue_message"
REWRITE = "smtp_client_rewrite_delivery_status"
ENUMERATED = "spool_message_enumerated"

_log = Logger()


def ask(question: Callable[[], Any], then: Callable[[Any, Refusal | None], None]) -> None:
    """then(answer, None), or then(None, refusal); a policy that broke (and was logged) has answered None."""
    try:
        answer = question()
    except Refusal as refusal:
        then(None, refusal)
        return
    except HookFailed:
        then(None, None)
        return
    if not isinstance(answer, Deferred):
        then(answer, None)
        return
    answer.addCallbacks(lambda found: then(found, None), lambda failure: then(None, _refusal(failure)))
    answer.addErrback(lambda failure: _log.failure("going on after a policy's answer failed", failure))


def _refusal(failure: Failure) -> Refusal | None:
    if failure.check(Refusal):
        assert isinstance(failure.value, Refusal)
        return failure.value
    if not failure.check(HookFailed):
        _log.failure("a policy could not be asked", failure)
    return None


def before_ready(policy: Policy, message: Message, then: Callable[[Any, Refusal | None], None]) -> None:
    """May it go on?  The handler puts its due time off if not."""
    ask(lambda: policy.in_time(THROTTLE, policy.each(THROTTLE, PolicyMessage(message))), then)


def on_requeue(
    policy: Policy,
    message: Message,
    answer: Reply,
    reasons: Sequence[Reason],
    *,
    counted: bool,
    delay: float | None,
    then: Callable[[Any, Refusal | None], None],
) -> None:
    """A message is about to wait again.  The handler may change its metadata, and with them its queue, or reject it."""
    context = [reason.value for reason in reasons]
    view = PolicyMessage(message)
    ask(lambda: policy.in_time(REQUEUE, policy.each(REQUEUE, view, answer.single_line, context, counted, delay)), then)


def rewritten(
    policy: Policy, message: Message, attempt: Attempt, outcomes: Sequence[Outcome], then: Callable[[list[Outcome]], None]
) -> None:
    """What the outcomes are once the policy has read each reply of the peer that was no success."""
    name = parse_queue_name(message.queue)
    arguments = (name.domain, name.tenant, name.campaign, name.routed_to)
    no_host = attempt.peer is None or attempt.delivery_protocol == BY_POLICY
    done: list[Outcome] = []

    def from_(n: int) -> None:
        while n < len(outcomes):
            outcome = outcomes[n]
            n += 1
            if outcome.reply.code == 250 or no_host or outcome.reply.text.startswith(INTERNAL):
                done.append(outcome)
                continue
            line = outcome.reply.single_line
            asked: Callable[[], Any] = lambda line=line: policy.in_time(REWRITE, policy.first(REWRITE, line, *arguments))  # type: ignore[misc]  # noqa: E731
            ask(asked, lambda code, _, n=n: heard(code, n))  # type: ignore[misc]
            return
        then(done)

    def heard(code: Any, n: int) -> None:
        done.append(_with_code(outcomes[n - 1], code))
        from_(n)

    from_(0)


def _with_code(outcome: Outcome, code: Any) -> Outcome:
    old = outcome.reply.code
    if code is None or code == old:
        return outcome
    if isinstance(code, bool) or not isinstance(code, int) or not 200 <= code <= 599:
        _log.error("{event} must answer a code from 200 to 599 or None, not {code!r}", event=REWRITE, code=code)
        return outcome
    text = f"{outcome.reply.text} (kumomta: status was rewritten from {old} -> {code})"
    return Outcome(_verdict(code), outcome.recipients, replace(outcome.reply, code=code, text=text))


def _verdict(code: int) -> Verdict:
    """The model's reading of a code that a policy gives (as delivery.judge reads a peer's)."""
    if code < 300:
        return Verdict.DELIVERED
    return Verdict.POSTPONED if code < 500 or code == 503 else Verdict.BOUNCED
