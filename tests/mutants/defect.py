"""What a defect is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Defect:
    """``before`` stands exactly once in ``file`` of ``folder`` (under src/gristmill); ``after`` replaces it."""

    name: str
    suite: str
    file: str
    before: str
    after: str
    folder: str = "stores/sql"

    def planted_in(self, source: str) -> str:
        if source.count(self.before) != 1:
            raise ValueError(
                f"{self.name}: {self.before!r} stands {source.count(self.before)} times in {self.file}"
            )
        return source.replace(self.before, self.after)
