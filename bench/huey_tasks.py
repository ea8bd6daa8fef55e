"""`huey_tasks.py PATH COUNT`, run by a Python that has huey: seconds to enqueue, dequeue, execute and store a no-op."""

import sys
import time

from huey import SqliteHuey

queue = SqliteHuey("bench", filename=sys.argv[1], fsync=True, utc=True)


@queue.task()
def nothing(number):
    return number


def main(count):
    started = time.perf_counter()
    for number in range(count):
        nothing(number)
    done = 0
    while (task := queue.dequeue()) is not None:
        queue.execute(task)
        done += 1
    seconds = time.perf_counter() - started
    if done != count or queue.result_count() != count:
        raise SystemExit(f"{done} of {count} tasks ran, {queue.result_count()} left a result")
    print(seconds)


if __name__ == "__main__":
    main(int(sys.argv[2]))
