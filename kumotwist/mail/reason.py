"""Why a message entered a scheduled queue: "why is it here?" always has an answer.  Names are the model's."""

from enum import Enum


class Reason(Enum):
    """One cause each; several may hold at once."""

    RECEIVED = "Received"
    ENUMERATED = "Enumerated"  # found in the spool at start-up
    SCHEDULED_FOR_LATER = "ScheduledForLater"
    DUE_TIME_WAS_REACHED = "DueTimeWasReached"
    MESSAGE_RATE_THROTTLE = "MessageRateThrottle"
    THROTTLED_BY_POLICY = "ThrottledByThrottleInsertReadyQueue"
    CONNECTION_RATE_THROTTLE = "ConnectionRateThrottle"
    READY_QUEUE_WAS_FULL = "ReadyQueueWasFull"
    READY_QUEUE_WAS_SUSPENDED = "ReadyQueueWasSuspended"
    SCHEDULED_QUEUE_WAS_SUSPENDED = "ScheduledQueueWasSuspended"  # ours: the model counts this as a failed attempt
    ADMIN_REBIND = "AdminRebind"
    FAILED_TO_INSERT_INTO_READY_QUEUE = "FailedToInsertIntoReadyQueue"
    FAILED_DUE_TO_NULL_MX = "FailedDueToNullMx"
    MX_RESOLVED_TO_ZERO_HOSTS = "MxResolvedToZeroHosts"
    MX_WAS_PROHIBITED = "MxWasProhibited"
    MX_WAS_SKIPPED = "MxWasSkipped"
    TOO_MANY_CONNECTION_FAILURES = "TooManyConnectionFailures"
    TOO_MANY_RECIPIENTS = "TooManyRecipients"
    LOGGED_TRANSIENT_FAILURE = "LoggedTransientFailure"
    DISPATCHER_DROP = "DispatcherDrop"  # its connection ended before the message was tried
    PEER_CLOSED_CONNECTION = "PeerClosedConnection"
    SOURCE_IS_UNHEALTHY_AND_SUSPENDED = "SourceIsUnhealthyAndSuspended"
    NO_SOURCE_IS_USABLE = "NoSourceIsUsable"  # ours: the model counts this as a failed attempt
