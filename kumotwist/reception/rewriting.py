"""What the policy makes of our replies before they are said (smtp_server_rewrite_response, smtp_server_ehlo): words, not deeds."""

from collections.abc import Sequence

from twisted.logger import Logger

from kumotwist.hooks.connection import ConnMeta
from kumotwist.hooks.policy import HookFailed, Policy
from kumotwist.mail.reply import EnhancedCode, Reply, reply
from kumotwist.reception.waits import Ask, BadAnswer

_log = Logger()
_MOST_LINES = 100
_LONGEST_LINE = 500  # octets; RFC 5321 section 4.5.3.1.5 allows 512 with code and line end


def reply_of(octets: bytes) -> Reply:
    """A reply of ours, from what would go over the wire."""
    lines = octets.decode().split("\r\n")[:-1]
    return reply(f"{lines[0][:3]} " + "\n".join(line[4:] for line in lines))


async def rewritten(answer: Reply, command: str | None, policy: Policy, conn_meta: ConnMeta, ask: Ask) -> Reply:
    """
    The reply as the policy wants it, or as it was where that fails.

    command: the command line of most refusals, `DATA` for what a message is answered with; None for other answers.
    """
    text = f"{answer.enhanced} {answer.text}" if answer.enhanced else answer.text
    try:
        told = await ask(policy.first("smtp_server_rewrite_response", answer.code, text, command, conn_meta))
        return answer if told is None else _read(answer, told)
    except HookFailed:
        return answer  # the policy has told of it
    except Exception:  # noqa: BLE001  (the client gets its answer whatever the policy does)
        _log.failure("smtp_server_rewrite_response: the reply stays {reply}", reply=answer.single_line)
        return answer


def _read(answer: Reply, told: object) -> Reply:
    """A status and a text, None where it stays.  Raises ValueError."""
    if not isinstance(told, tuple | list) or len(told) != 2:
        raise ValueError(f"expected (status, text), either of them None, not {told!r}")
    status, text = told
    if status is not None and (isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599):
        raise ValueError(f"expected a status from 200 to 599, not {status!r}")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"expected a text, not {text!r}")
    code = answer.code
    if status is not None and status // 100 != 3 and code // 100 != 3:  # else the client would wait for us, or we for it
        code = status
    if text is None:
        return Reply(code, _of_class(answer.enhanced, code), answer.text, answer.command)
    lines = text.replace("\r\n", "\n").split("\n")[:_MOST_LINES]
    return reply(f"{code} " + "\n".join(_tidy(line) for line in lines), answer.command)


def _tidy(line: str) -> str:
    """What a client or a header put into it ends no line."""
    shown = "".join(character if character.isprintable() else "?" for character in line)
    return shown.encode("utf-8", "replace")[:_LONGEST_LINE].decode("utf-8", "ignore")


def _of_class(enhanced: EnhancedCode | None, code: int) -> EnhancedCode | None:
    """RFC 2034 section 4: the class is the first digit of the code."""
    return None if enhanced is None else EnhancedCode(code // 100, enhanced.subject, enhanced.detail)


def advertised(answer: object) -> list[str]:
    """What a policy wants to be advertised.  Raises BadAnswer."""
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        lines = list(answer)
        if all(isinstance(line, str) and line.isascii() and line.isprintable() and line for line in lines):
            return lines
    raise BadAnswer("smtp_server_ehlo: expected a list of extensions, each a line of text")
