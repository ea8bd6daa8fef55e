"""What work costs on SQLite, counted in steps instead of seconds: the same on every machine."""

from collections.abc import Awaitable, Callable

from sqlalchemy import Connection

from gristmill.stores.sql.database import SqlDatabase


async def machine_steps(database: SqlDatabase, work: Callable[[], Awaitable[object]]) -> int:
    """How many tens of steps SQLite's virtual machine takes for the work, on all connections that it has now."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    def watch(connection: Connection, handler: Callable[[], int] | None = count) -> None:
        connection.connection.driver_connection.set_progress_handler(handler, 10)

    def unwatch(connection: Connection) -> None:
        watch(connection, None)

    # Reading one after the other uses the one reader there is, again and again.
    await database._connections.run_write(watch)
    await database._connections.run_read(watch)
    await work()
    await database._connections.run_write(unwatch)
    await database._connections.run_read(unwatch)
    return counted
