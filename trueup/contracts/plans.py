"""Which plan a subscription is, by the prices it has."""

from collections.abc import Collection

from trueup.contracts.catalogue import Catalogue


def plan_of(catalogue: Catalogue, prices: Collection[str]) -> str | None:
    """Give the plan that most of these prices belong to; None when no plan has any of them, or two fit equally well."""
    held = set(prices)
    shared = {plan.name: len(held & set(plan.stripe_prices)) for plan in catalogue.plans.values()}
    best = max(shared.values(), default=0)
    fitting = [name for name, count in shared.items() if count == best]
    return fitting[0] if best and len(fitting) == 1 else None
