"""Decide which articles the Tarnbeck depot has to reorder tonight.

The rule was agreed between purchasing and the yard: an article is ordered when
the stock on hand, plus what is already on its way, no longer lasts for the
supplier's lead time and a safety margin. Bagged goods spoil, so for them the
margin is shorter and the order is capped at what can be sold before the shelf
life ends.
"""

from dataclasses import dataclass

SAFETY_DAYS = 6
SAFETY_DAYS_PERISHABLE = 3
SHELF_LIFE_DAYS = 180
MINIMUM_ORDER_EUROS = 250.0


@dataclass(frozen=True)
class Article:
    """One line of the stock list, as the counting team writes it."""

    code: str
    on_hand: int
    on_order: int
    sold_per_day: float
    lead_time_days: int
    unit_price: float
    perishable: bool = False


def days_left(article: Article) -> float:
    """Return how many days the stock lasts at the present rate of sale.

    An article that never sells lasts for ever, and is reported to the clearance
    shelf instead of being reordered.
    """
    if article.sold_per_day <= 0:
        return float("inf")
    return (article.on_hand + article.on_order) / article.sold_per_day


def needs_order(article: Article) -> bool:
    """Tell whether the article runs out before a new delivery could arrive."""
    margin = SAFETY_DAYS_PERISHABLE if article.perishable else SAFETY_DAYS
    return days_left(article) < article.lead_time_days + margin


def order_quantity(article: Article) -> int:
    """Return how many units to order, which covers forty-five days of sales.

    Orders below the minimum value are rounded up, because the carrier charges the
    same for half a pallet as for a whole one.
    """
    quantity = round(article.sold_per_day * 45)
    if article.unit_price * quantity < MINIMUM_ORDER_EUROS:
        quantity = round(MINIMUM_ORDER_EUROS / article.unit_price)
    if article.perishable:
        quantity = min(quantity, round(article.sold_per_day * SHELF_LIFE_DAYS))
    return quantity
