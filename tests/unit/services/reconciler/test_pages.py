"""What is missing at once is nothing; what goes missing behind the first page is no answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import stripe

from services.reconciler.adapters.pages import every


def refusal(code: str) -> stripe.InvalidRequestError:
    """Stripe's answer with a code."""
    return stripe.InvalidRequestError(f"refused: {code}", param="id", code=code)


@dataclass
class Pages:
    """A list whose second page may be refused."""

    first: tuple[str, ...]
    then: tuple[str, ...] = ()
    refused: stripe.InvalidRequestError | None = None

    def auto_paging_iter(self) -> Iterator[str]:
        """Everything on it."""
        yield from self.first
        if self.refused is not None:
            raise self.refused
        yield from self.then


def asking(answer: Pages | stripe.InvalidRequestError) -> Pages:
    """Give the answer as the SDK does."""
    if isinstance(answer, stripe.InvalidRequestError):
        raise answer
    return answer


@pytest.mark.parametrize("code", ["resource_missing", "invoice_upcoming_none"])
def test_who_is_not_known_has_nothing(code: str) -> None:
    assert every(lambda: asking(refusal(code))) == []


def test_all_pages_are_there() -> None:
    assert every(lambda: asking(Pages(("a",), ("b",)))) == ["a", "b"]


@pytest.mark.parametrize(
    "answer",
    [refusal("parameter_invalid_integer"), Pages(("a",), refused=refusal("resource_missing"))],
    ids=["fault", "second page"],
)
def test_a_list_that_was_read_in_part_is_no_answer(answer: Pages | stripe.InvalidRequestError) -> None:
    """A draft that is deleted in mid-reading made a customer look as if it had no invoice at all."""
    with pytest.raises(stripe.InvalidRequestError):
        every(lambda: asking(answer))
