"""Why an item failed, and whether trying again can help."""

from dataclasses import dataclass
from enum import StrEnum


class FailureCategory(StrEnum):
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNREADABLE = "unreadable"
    ENCRYPTED = "encrypted"
    EMPTY = "empty"
    NO_TEXT_LAYER = "no_text_layer"
    TOO_LARGE = "too_large"
    BAD_INPUT = "bad_input"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    INTERNAL = "internal"
    PROVIDER_INPUT = "provider_input"
    PROVIDER_RATE = "provider_rate"
    PROVIDER_QUOTA = "provider_quota"
    PROVIDER_TRANSIENT = "provider_transient"
    PROVIDER_EXPIRED = "provider_expired"
    PROVIDER_CONTRACT = "provider_contract"
    PROVIDER_AUTH = "provider_auth"
    PROVIDER_BILLING = "provider_billing"
    STORE_UNAVAILABLE = "store_unavailable"


class Remedy(StrEnum):
    """What the engine does with a failure of a category."""

    NEVER = "never"  # The same input fails the same way: only a person can change that.
    RETRY = "retry"  # Costs an attempt.
    SNOOZE = "snooze"  # Costs none: the fault is not the item's.


_REMEDIES = {
    FailureCategory.TIMEOUT: Remedy.RETRY,
    FailureCategory.CRASHED: Remedy.RETRY,
    FailureCategory.INTERNAL: Remedy.RETRY,
    FailureCategory.PROVIDER_RATE: Remedy.SNOOZE,
    FailureCategory.PROVIDER_QUOTA: Remedy.SNOOZE,
    FailureCategory.PROVIDER_TRANSIENT: Remedy.RETRY,
    FailureCategory.PROVIDER_EXPIRED: Remedy.RETRY,
    FailureCategory.PROVIDER_CONTRACT: Remedy.RETRY,
    FailureCategory.PROVIDER_AUTH: Remedy.SNOOZE,
    FailureCategory.PROVIDER_BILLING: Remedy.SNOOZE,
    FailureCategory.STORE_UNAVAILABLE: Remedy.SNOOZE,
}


def remedy(category: FailureCategory) -> Remedy:
    return _REMEDIES.get(category, Remedy.NEVER)


def is_permanent(category: FailureCategory) -> bool:
    """Whether no automatic retry is ever taken for this category."""
    return remedy(category) is Remedy.NEVER


PERMANENT_CATEGORIES = frozenset(c for c in FailureCategory if is_permanent(c))


@dataclass(frozen=True, slots=True)
class Failure:
    """A category and one sentence that says what, where and what to do next."""

    category: FailureCategory
    message: str


class ItemError(Exception):
    """An item cannot be processed, for a reason that has a category.

    Pickles, because it is raised in pool processes.
    """

    def __init__(self, category: FailureCategory, message: str) -> None:
        super().__init__(category, message)
        self.category = category
        self.message = message

    def __str__(self) -> str:
        return self.message

    @property
    def failure(self) -> Failure:
        return Failure(self.category, self.message)
