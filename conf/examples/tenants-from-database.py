"""As tenant-from-header.py, with the tenants in an SQLite database, which another program may change at any time."""

import sqlite3
from contextlib import closing
from pathlib import Path

from twisted.internet.threads import deferToThread

from kumotwist import kumo

DATABASE = Path(__file__).with_name("tenants.sqlite")  # made from tenants.sql


def pool_in_database(tenant: str) -> str | None:
    """Reads the disk, so it runs in a thread: nobody else waits for it."""
    with closing(sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)) as database:
        row = database.execute("SELECT egress_pool FROM tenant WHERE name = ?", (tenant,)).fetchone()
    return row[0] if row else None


@kumo.memoize(name="pool of tenant", ttl="1 minute", capacity=10000)
async def pool_of(tenant: str) -> str | None:
    return await deferToThread(pool_in_database, tenant)


@kumo.on("smtp_server_message_received")
async def received(msg: kumo.Message) -> None:
    tenant = msg.get_first_named_header_value("X-Tenant")
    if not tenant:
        kumo.reject(500, "missing X-Tenant header")
    if await pool_of(tenant) is None:
        kumo.reject(500, f"invalid/unknown tenant {tenant}")
    msg.set_meta("tenant", tenant)


@kumo.on("get_queue_config")
async def queue_config(domain: str, tenant: str | None) -> kumo.QueueConfig:
    return kumo.make_queue_config(egress_pool=await pool_of(tenant) if tenant else None)
