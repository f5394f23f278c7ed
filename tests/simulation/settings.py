"""The configurations between which a history changes."""

import os
import tempfile
from functools import cache

from kumotwist.config.read import read_config
from kumotwist.config.server import Config

PROMPT = "10.9.0.1"  # where the mail for prompt.test goes: this receiver always takes everything
MAX_AGE = 12 * 3600.0  # seconds, of every queue

_FRAME = """
hostname: mta.test
node_id: 00000000-0000-4000-8000-000000000001
spool: {path: /simulated/spool}
logs: {log_dir: /simulated/log, max_segment_duration: %(segment)s}
dns: {nameservers: ["10.0.0.53:53"]}
esmtp_listeners:
  - {listen: "10.0.0.1:25", relay_hosts: [10.0.0.0/8], max_messages_per_connection: 20}
egress:
  source: {ip-1: {source_address: 10.0.0.11}, ip-2: {source_address: 10.0.0.12}}
  pool: {pair: {ip-1: {}, ip-2: {weight: 2}}}
queues:
  queue:
    default: {retry_interval: %(retry)s, max_age: 12 hours, egress_pool: pair%(queue)s}
    prompt.test: {protocol: {smtp: {mx_list: ["[10.9.0.1]"]}}}
shaping:
  rules:
    default: {prohibited_hosts: [], enable_tls: Disabled%(path)s}
    prompt.test: {connection_limit: 10, max_ready: 1000, mx_rollup: false}
"""
_VARIANTS = (
    {"segment": "1 minute", "retry": "20 minutes", "queue": "", "path": ", connection_limit: 2, max_ready: 3"},
    {"segment": "10 minutes", "retry": "5 minutes", "queue": ", max_retry_interval: 1 hour", "path": ", max_message_rate: 30/min"},
    {
        "segment": "1 minute",
        "retry": "10 minutes",
        "queue": ", max_message_rate: 20/min",
        "path": ", connection_limit: 1, max_deliveries_per_connection: 2, max_connection_rate: 20/min"
        ", source_selection_rate: 20/min",
    },
)


@cache
def configurations() -> tuple[Config, ...]:
    """Each variant without and with the policy."""
    policy = os.path.join(os.path.dirname(__file__), "policy.py")
    found = []
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "kumotwist.yaml")
        for variant in _VARIANTS:
            for line in ("", f"policy: {policy}\n"):
                with open(path, "w") as file:
                    file.write(line + _FRAME % variant)
                found.append(read_config(path))
    return tuple(found)
