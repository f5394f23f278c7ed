"""
`kumo.on` with its types: for each event what a handler may be given and what it may answer, so that mypy checks a policy.

At run time all of it is `registration.register`; which events there are is said by `hooks.points`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, overload

from kumotwist.config.egress import EgressPool, EgressSource, PathSettings
from kumotwist.config.listeners import ListenerDomain
from kumotwist.config.queues import QueueSettings
from kumotwist.hooks.connection import AuthInfo, ConnMeta
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.registration import MISSING, register
from kumotwist.mail.address import Mailbox

T = TypeVar("T")
Answer: TypeAlias = T | Awaitable[T]

# Each alias: a handler that takes none, one, two … of the event's arguments.
_Text: TypeAlias = str | None

_Nothing: TypeAlias = Callable[[], object]
_Connection: TypeAlias = _Nothing | Callable[[ConnMeta], object]
_Address: TypeAlias = _Nothing | Callable[[Mailbox], object] | Callable[[Mailbox, ConnMeta], object]
_Message: TypeAlias = _Nothing | Callable[[PolicyMessage], object]
_MessageAndConnection: TypeAlias = _Message | Callable[[PolicyMessage, ConnMeta], object]

_Parameters: TypeAlias = Answer[Mapping[str, Any] | None]
_Dynamic: TypeAlias = Callable[[], _Parameters] | Callable[[str], _Parameters] | Callable[[str, ConnMeta], _Parameters]

_Extensions: TypeAlias = Answer[Sequence[str] | None]
_Ehlo: TypeAlias = (
    Callable[[], _Extensions]
    | Callable[[str], _Extensions]
    | Callable[[str, ConnMeta], _Extensions]
    | Callable[[str, ConnMeta, list[str]], _Extensions]
)

_Identity: TypeAlias = Answer[bool | AuthInfo | None]
_Auth: TypeAlias = (
    Callable[[str, str, str], _Identity] | Callable[[str, str, str, ConnMeta], _Identity] | Callable[[str, str], _Identity]
)

_Basic: TypeAlias = Callable[[str, str], _Identity] | Callable[[str, str | None], _Identity]
_Bearer: TypeAlias = Callable[[str], _Identity]
_Rules: TypeAlias = Answer[Sequence[Mapping[str, Any]] | None]
_Acl: TypeAlias = Callable[[str], _Rules] | Callable[[], _Rules]
_Generated: TypeAlias = _Message | Callable[[PolicyMessage, AuthInfo], object]

_Domain: TypeAlias = Answer[ListenerDomain | None]
_ListenerDomain: TypeAlias = (
    Callable[[], _Domain] | Callable[[str], _Domain] | Callable[[str, str], _Domain] | Callable[[str, str, ConnMeta], _Domain]
)

_Batches: TypeAlias = Answer[Sequence[Sequence[str | Mailbox]] | None]
_Split: TypeAlias = Callable[[], _Batches] | Callable[[PolicyMessage], _Batches] | Callable[[PolicyMessage, ConnMeta], _Batches]

_Response: TypeAlias = Answer[tuple[int | None, str | None] | None]
_RewriteResponse: TypeAlias = (
    Callable[[int], _Response]
    | Callable[[int, str], _Response]
    | Callable[[int, str, _Text], _Response]
    | Callable[[int, str, _Text, ConnMeta], _Response]
)

_Queue: TypeAlias = Answer[QueueSettings | None]
_QueueConfig: TypeAlias = (
    Callable[[], _Queue]
    | Callable[[str], _Queue]
    | Callable[[str, _Text], _Queue]
    | Callable[[str, _Text, _Text], _Queue]
    | Callable[[str, _Text, _Text, _Text], _Queue]
)

_Pool: TypeAlias = Callable[[], Answer[EgressPool | None]] | Callable[[str], Answer[EgressPool | None]]
_Source: TypeAlias = Callable[[], Answer[EgressSource | None]] | Callable[[str], Answer[EgressSource | None]]

_Path: TypeAlias = Answer[PathSettings | None]
_PathConfig: TypeAlias = (
    Callable[[], _Path] | Callable[[str], _Path] | Callable[[str, str], _Path] | Callable[[str, str, str], _Path]
)

# The reply on one line, the reasons why the message is requeued, whether it is counted, and the wait in seconds.
_Requeue: TypeAlias = (
    _Message
    | Callable[[PolicyMessage, str], object]
    | Callable[[PolicyMessage, str, list[str]], object]
    | Callable[[PolicyMessage, str, list[str], bool], object]
    | Callable[[PolicyMessage, str, list[str], bool, float | None], object]
)
_Rebind: TypeAlias = _Message | Callable[[PolicyMessage, dict[str, Any]], object]

_Status: TypeAlias = Answer[int | None]
_DeliveryStatus: TypeAlias = (
    Callable[[str], _Status]
    | Callable[[str, str], _Status]
    | Callable[[str, str, _Text], _Status]
    | Callable[[str, str, _Text, _Text], _Status]
    | Callable[[str, str, _Text, _Text, _Text], _Status]
)

_Wanted: TypeAlias = Answer[bool | None]
_LogRecord: TypeAlias = Callable[[], _Wanted] | Callable[[PolicyMessage], _Wanted] | Callable[[PolicyMessage, str], _Wanted]

NothingH = TypeVar("NothingH", bound=_Nothing)
ConnectionH = TypeVar("ConnectionH", bound=_Connection)
AddressH = TypeVar("AddressH", bound=_Address)
MessageH = TypeVar("MessageH", bound=_Message)
MessageAndConnectionH = TypeVar("MessageAndConnectionH", bound=_MessageAndConnection)
DynamicH = TypeVar("DynamicH", bound=_Dynamic)
EhloH = TypeVar("EhloH", bound=_Ehlo)
AuthH = TypeVar("AuthH", bound=_Auth)
BasicH = TypeVar("BasicH", bound=_Basic)
BearerH = TypeVar("BearerH", bound=_Bearer)
AclH = TypeVar("AclH", bound=_Acl)
GeneratedH = TypeVar("GeneratedH", bound=_Generated)
ListenerDomainH = TypeVar("ListenerDomainH", bound=_ListenerDomain)
SplitH = TypeVar("SplitH", bound=_Split)
RewriteResponseH = TypeVar("RewriteResponseH", bound=_RewriteResponse)
QueueConfigH = TypeVar("QueueConfigH", bound=_QueueConfig)
PoolH = TypeVar("PoolH", bound=_Pool)
SourceH = TypeVar("SourceH", bound=_Source)
PathConfigH = TypeVar("PathConfigH", bound=_PathConfig)
RequeueH = TypeVar("RequeueH", bound=_Requeue)
RebindH = TypeVar("RebindH", bound=_Rebind)
DeliveryStatusH = TypeVar("DeliveryStatusH", bound=_DeliveryStatus)
LogRecordH = TypeVar("LogRecordH", bound=_LogRecord)

_OfNothing: TypeAlias = Literal["pre_init", "init"]
_OfConnection: TypeAlias = Literal["smtp_server_connection_accepted"]
_OfAddress: TypeAlias = Literal["smtp_server_mail_from", "smtp_server_rcpt_to"]
_OfMessage: TypeAlias = Literal["throttle_insert_ready_queue", "spool_message_enumerated"]
_OfMessageAndConnection: TypeAlias = Literal["smtp_server_data", "smtp_server_message_received"]


@overload
def on(event: _OfNothing) -> Callable[[NothingH], NothingH]: ...
@overload
def on(event: _OfNothing, handler: NothingH) -> NothingH: ...
@overload
def on(event: _OfConnection) -> Callable[[ConnectionH], ConnectionH]: ...
@overload
def on(event: _OfConnection, handler: ConnectionH) -> ConnectionH: ...
@overload
def on(event: _OfAddress) -> Callable[[AddressH], AddressH]: ...
@overload
def on(event: _OfAddress, handler: AddressH) -> AddressH: ...
@overload
def on(event: _OfMessage) -> Callable[[MessageH], MessageH]: ...
@overload
def on(event: _OfMessage, handler: MessageH) -> MessageH: ...
@overload
def on(event: _OfMessageAndConnection) -> Callable[[MessageAndConnectionH], MessageAndConnectionH]: ...
@overload
def on(event: _OfMessageAndConnection, handler: MessageAndConnectionH) -> MessageAndConnectionH: ...
@overload
def on(event: Literal["smtp_server_get_dynamic_parameters"]) -> Callable[[DynamicH], DynamicH]: ...
@overload
def on(event: Literal["smtp_server_get_dynamic_parameters"], handler: DynamicH) -> DynamicH: ...
@overload
def on(event: Literal["smtp_server_ehlo"]) -> Callable[[EhloH], EhloH]: ...
@overload
def on(event: Literal["smtp_server_ehlo"], handler: EhloH) -> EhloH: ...
@overload
def on(event: Literal["smtp_server_auth_plain"]) -> Callable[[AuthH], AuthH]: ...
@overload
def on(event: Literal["smtp_server_auth_plain"], handler: AuthH) -> AuthH: ...
@overload
def on(event: Literal["http_server_validate_auth_basic"]) -> Callable[[BasicH], BasicH]: ...
@overload
def on(event: Literal["http_server_validate_auth_basic"], handler: BasicH) -> BasicH: ...
@overload
def on(event: Literal["http_server_validate_auth_bearer"]) -> Callable[[BearerH], BearerH]: ...
@overload
def on(event: Literal["http_server_validate_auth_bearer"], handler: BearerH) -> BearerH: ...
@overload
def on(event: Literal["get_acl_definition"]) -> Callable[[AclH], AclH]: ...
@overload
def on(event: Literal["get_acl_definition"], handler: AclH) -> AclH: ...
@overload
def on(event: Literal["http_message_generated"]) -> Callable[[GeneratedH], GeneratedH]: ...
@overload
def on(event: Literal["http_message_generated"], handler: GeneratedH) -> GeneratedH: ...
@overload
def on(event: Literal["get_listener_domain"]) -> Callable[[ListenerDomainH], ListenerDomainH]: ...
@overload
def on(event: Literal["get_listener_domain"], handler: ListenerDomainH) -> ListenerDomainH: ...
@overload
def on(event: Literal["smtp_server_split_transaction"]) -> Callable[[SplitH], SplitH]: ...
@overload
def on(event: Literal["smtp_server_split_transaction"], handler: SplitH) -> SplitH: ...
@overload
def on(event: Literal["smtp_server_rewrite_response"]) -> Callable[[RewriteResponseH], RewriteResponseH]: ...
@overload
def on(event: Literal["smtp_server_rewrite_response"], handler: RewriteResponseH) -> RewriteResponseH: ...
@overload
def on(event: Literal["get_queue_config"]) -> Callable[[QueueConfigH], QueueConfigH]: ...
@overload
def on(event: Literal["get_queue_config"], handler: QueueConfigH) -> QueueConfigH: ...
@overload
def on(event: Literal["get_egress_pool"]) -> Callable[[PoolH], PoolH]: ...
@overload
def on(event: Literal["get_egress_pool"], handler: PoolH) -> PoolH: ...
@overload
def on(event: Literal["get_egress_source"]) -> Callable[[SourceH], SourceH]: ...
@overload
def on(event: Literal["get_egress_source"], handler: SourceH) -> SourceH: ...
@overload
def on(event: Literal["get_egress_path_config"]) -> Callable[[PathConfigH], PathConfigH]: ...
@overload
def on(event: Literal["get_egress_path_config"], handler: PathConfigH) -> PathConfigH: ...
@overload
def on(event: Literal["requeue_message"]) -> Callable[[RequeueH], RequeueH]: ...
@overload
def on(event: Literal["requeue_message"], handler: RequeueH) -> RequeueH: ...
@overload
def on(event: Literal["rebind_message"]) -> Callable[[RebindH], RebindH]: ...
@overload
def on(event: Literal["rebind_message"], handler: RebindH) -> RebindH: ...
@overload
def on(event: Literal["smtp_client_rewrite_delivery_status"]) -> Callable[[DeliveryStatusH], DeliveryStatusH]: ...
@overload
def on(event: Literal["smtp_client_rewrite_delivery_status"], handler: DeliveryStatusH) -> DeliveryStatusH: ...
@overload
def on(event: Literal["should_enqueue_log_record"]) -> Callable[[LogRecordH], LogRecordH]: ...
@overload
def on(event: Literal["should_enqueue_log_record"], handler: LogRecordH) -> LogRecordH: ...
def on(event: str, handler: Any = MISSING) -> Any:
    """
    Have a function called for an event: `@kumo.on("init")` before it, or `kumo.on("init", function)`.

    The function stays usable.  It may take fewer arguments than the event passes, from the left; it may be `async def`, or
    return a Deferred.  Only while the policy loads; an unknown event, a handler that requires more than the event passes, or
    in one file a second handler for an event with one answer, is a fault of the policy.
    """
    return register(event, handler)


class Sender(Protocol):
    """What a constructor makes for single messages; it may have `close`, too."""

    def send(self, message: PolicyMessage, /) -> Answer[str]:
        """Deliver it; the text is the answer that the log shows.  `kumo.reject` refuses it."""


class BatchSender(Protocol):
    """What a constructor makes for batches; it may have `close`, too."""

    def send_batch(self, messages: list[PolicyMessage], /) -> Answer[str]:
        """Deliver them all, or refuse them all."""


_Sender: TypeAlias = Answer[Sender | BatchSender | None]
_Constructor: TypeAlias = (
    Callable[[], _Sender] | Callable[[str], _Sender] | Callable[[str, _Text], _Sender] | Callable[[str, _Text, _Text], _Sender]
)
ConstructorH = TypeVar("ConstructorH", bound=_Constructor)


@overload
def constructor(name: str) -> Callable[[ConstructorH], ConstructorH]: ...
@overload
def constructor(name: str, make: ConstructorH) -> ConstructorH: ...
def constructor(name: str, make: Any = MISSING) -> Any:
    """
    Have a function or a class called with (domain, tenant, campaign) to make what a queue's mail is handed over to.

    name: with a dot, such as `make.webhook`; a queue names it in `protocol: {custom_lua: {constructor: make.webhook}}`.
    Raises ValueError for a name without one.  `kumo.on` does the same, but has no types for it.
    """
    if "." not in name.strip("."):
        raise ValueError(f"{name!r} as a constructor, expected a name with a dot, such as make.webhook")
    return register(name, make)
