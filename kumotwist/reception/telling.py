"""What a client was refused is told to the desk, for the log."""

from twisted.logger import Logger

from kumotwist.mail.reply import Reply
from kumotwist.reception.client import Client
from kumotwist.reception.desk import Desk
from kumotwist.reception.transaction import Transaction

_log = Logger()
_OUR_OWN_STATE = frozenset({(421, "4.3.2"), (452, "4.3.1")})


def is_told(answer: Reply) -> bool:
    """Whether an answer is a refusal that says something of the mail, and not of our own state just now."""
    return answer.code >= 400 and (answer.code, str(answer.enhanced)) not in _OUR_OWN_STATE


def tell_refusal(desk: Desk, answer: Reply, client: Client, transaction: Transaction | None) -> None:
    """A Rejection record."""
    try:
        desk.refused(
            answer,
            sender=transaction.sender.email if transaction else "",
            recipient=transaction.recipients[-1].email if transaction and transaction.recipients else "",
            peer=client.arrival.peer,
            session_id=client.arrival.session_id,
            meta=client.meta,
        )
    except Exception:  # noqa: BLE001  (a record that cannot be written must not cost the client its answer)
        _log.failure("{peer}: refusal could not be recorded", peer=client.ends.peer)
