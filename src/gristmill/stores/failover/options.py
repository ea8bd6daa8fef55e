"""How long failover waits for what."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailoverOptions:
    """Times are seconds. A call that takes longer than ``call_timeout`` counts as an outage: set it above the slowest.

    ``open_timeout`` is for what may take long: bringing a schema up to date, owing every row again.
    ``converge_at_open`` and ``converge_at_close`` are what a short command gives to a backlog.
    """

    call_timeout: float = 15.0
    probe_timeout: float = 3.0
    open_timeout: float = 120.0
    reconcile_every: float = 1.0
    hand_over_after: float = 10.0
    # What was written less than so long ago is left to the call that wrote it.
    in_flight: float = 3.0
    page_rows: int = 500
    # A page of rows that was read longer ago than this is read again before anything of it is written (B3).
    forget_read_after: float = 600.0
    keep_tombstones: float = 86_400.0
    purge_every: float = 3_600.0
    converge_at_open: float = 2.0
    converge_at_close: float = 5.0
