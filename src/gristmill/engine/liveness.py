"""Who we are, and whether another worker's process is gone."""

import json
import os
import uuid
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import psutil

from gristmill.ports.batches import Worker

LEASE_SECONDS = 30.0


def this_process(*, now: datetime, lease_seconds: float = LEASE_SECONDS) -> Worker:
    process = psutil.Process()
    return Worker(
        worker_id=f"{os.uname().nodename}-{process.pid}-{uuid.uuid4().hex[:8]}",
        host_id=_host_id(),
        boot_id=_boot_id(),
        pid=process.pid,
        process_started=process.create_time(),
        renewed_at=now,
        lease_seconds=lease_seconds,
    )


def has_ended_here(worker: Worker) -> bool:
    """Whether its process ran on this machine and is gone; False for one elsewhere, of which nothing is known."""
    if worker.host_id != _host_id():
        return False
    return worker.boot_id != _boot_id() or not _is_running(worker)


def is_overdue(worker: Worker, *, now: datetime) -> bool:
    """Whether its lease has run out, by the clock on the wall."""
    return worker.renewed_at + timedelta(seconds=worker.lease_seconds) < now


def seems_gone(worker: Worker, *, now: datetime) -> bool:
    """What can be said at one look; who takes work away from it watches it for a while (``lease.Watch``)."""
    return has_ended_here(worker) or is_overdue(worker, now=now)


def submitter_text(process: Worker) -> str:
    """A process as a batch's ``submitter`` keeps it."""
    return json.dumps(asdict(process) | {"renewed_at": process.renewed_at.isoformat()})


def submitter_is_gone(submitter: str | None, *, active_at: datetime, now: datetime) -> bool:
    """True when its process has ended on this machine; elsewhere, when it did nothing for a lease.

    ``active_at`` is when its batch last changed. A submitter that is no process of ours counts as elsewhere.
    """
    process = _submitting_process(submitter)
    if process is None or process.host_id != _host_id():
        return active_at + timedelta(seconds=LEASE_SECONDS) < now
    return process.boot_id != _boot_id() or not _is_running(process)


def _submitting_process(submitter: str | None) -> Worker | None:
    try:
        fields = json.loads(submitter or "")
        return Worker(**(fields | {"renewed_at": datetime.fromisoformat(fields["renewed_at"])}))
    except (ValueError, TypeError, KeyError):
        return None


def _is_running(worker: Worker) -> bool:
    try:
        process = psutil.Process(worker.pid)
        # Another process may have got the pid since; the start time tells them apart.
        same = abs(process.create_time() - worker.process_started) < 2.0
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@cache  # Asked for every worker that is seen, as often as somebody looks.
def _host_id() -> str:
    """The machine and its process namespace: a pid means something only inside both."""
    return f"{_machine_id()}:{_namespace()}"


def _machine_id() -> str:
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip() or f"{uuid.getnode():x}"
    except OSError:
        return f"{uuid.getnode():x}"


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "-"


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return str(int(psutil.boot_time()))
