"""What machine this is, for `GET /api/machine-info`.  Reads small local files; for a thread."""

import os
import platform
import socket
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from kumotwist import __version__
from kumotwist.logs.record import rfc3339


class MachineInfoV1(Struct, frozen=True, kw_only=True):
    """The model's fields.  online_since: RFC 3339; total_memory_bytes: of the machine."""

    node_id: str
    hostname: str
    mac_address: str
    num_cores: int
    kernel_version: str | None = None
    platform: str
    distribution: str
    os_version: str
    total_memory_bytes: int
    container_runtime: str | None = None
    cpu_brand: str
    fingerprint: str
    online_since: str
    process_kind: str
    version: str


def this_machine(node_id: str, began: float) -> MachineInfoV1:
    """began: when this process did, in epoch seconds."""
    system = platform.uname()
    release = _release()
    distribution = release.get("NAME", system.system)
    return MachineInfoV1(
        node_id=node_id,
        hostname=socket.gethostname(),
        mac_address=_hardware_address(),
        num_cores=os.cpu_count() or 1,
        kernel_version=system.release or None,
        platform=f"{system.system.lower()}/{system.machine}",
        distribution=release.get("ID", distribution),
        os_version=release.get("PRETTY_NAME", f"{system.system} {system.release}"),
        total_memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        container_runtime=_container(),
        cpu_brand=_processor() or system.machine,
        fingerprint=_fingerprint(),
        online_since=rfc3339(began),
        process_kind="kumod",
        version=__version__,
    )


def _release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _hardware_address() -> str:
    """Of the first network interface that has one."""
    try:
        names = sorted(os.listdir("/sys/class/net"))
    except OSError:
        names = []
    found = (_read(f"/sys/class/net/{name}/address") for name in names if name != "lo")
    return next((one for one in found if one and one != "00:00:00:00:00:00"), "00:00:00:00:00:00")


def _processor() -> str:
    brands = {line.partition(":")[2].strip() for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")}
    return ", ".join(sorted(brands))


def _container() -> str | None:
    if Path("/.dockerenv").exists():
        return "docker"
    return "podman" if Path("/run/.containerenv").exists() else None


def _fingerprint() -> str:
    """A digest: the machine's id itself is nobody's business."""
    machine = _read("/etc/machine-id")
    return f"machine_uid={sha256(machine.encode()).hexdigest()[:32]}" if machine else ""
