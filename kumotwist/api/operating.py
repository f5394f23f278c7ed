"""All that operators can ask for, added to the table."""

from typing import Any

from kumotwist.api.diagnostics import DiagnosticLog, diagnostic_endpoints
from kumotwist.api.endpoint import Endpoints
from kumotwist.api.inspection import inspection_endpoints
from kumotwist.api.orders import order_endpoints
from kumotwist.api.ready_queues import ready_endpoints
from kumotwist.api.resolving import resolving_endpoint
from kumotwist.api.stages import Stages
from kumotwist.api.traces import Traces
from kumotwist.api.transfer import Transfers


def operate(table: Endpoints, stages: Stages, log: Any) -> Transfers:
    """log: Twisted's publisher of what the operator's log gets.  Returns what has a beginning and an end of its own."""
    transfers = Transfers(stages)
    table.add(
        *order_endpoints(stages),
        *inspection_endpoints(stages),
        *ready_endpoints(stages),
        resolving_endpoint(stages),
        *diagnostic_endpoints(stages, DiagnosticLog(log)),
        *Traces(stages.reactor, stages.reception, stages.dialogues).endpoints(),
        *transfers.endpoints(),
    )
    return transfers
