"""How many records are worth claiming at once."""

# A group that is done sooner costs more in claiming and writing than it need; one that takes longer keeps from
# other workers what they could begin, and is longer done again after a crash.
_QUICK_SECONDS = 2.0
_SLOW_SECONDS = 60.0


class Pace:
    """Groups begin with ``least`` records, double while they are done quickly and halve while they take long."""

    def __init__(self, most: int, *, least: int) -> None:
        self._most = most
        self._least = min(least, most)
        self.group_records = self._least

    def step(self, records: int, seconds: float) -> None:
        """A group of so many records took so long.

        Only those of the present size count: fewer were the last, and what slowed down several groups at once is one
        slow time and not several.
        """
        if records != self.group_records:
            return
        if seconds < _QUICK_SECONDS:
            self.group_records = min(2 * self.group_records, self._most)
        elif seconds > _SLOW_SECONDS:
            self.group_records = max(self.group_records // 2, self._least)
