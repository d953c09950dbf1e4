"""Month v1: a seeded month of bursts, with the accidents that real producers have."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, replace

from devstack.load_generator.accidents import hostile, refused_facts
from devstack.load_generator.deliveries import Burst, Contract, Customer, Delivery, Month, Turn, Usage

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WINDOW_MS = 5 * MINUTE_MS
BURSTS = 24
PRODUCTS = {
    "inference": ("input_tokens", "output_tokens"),
    "agents": ("runs",),
    "speech": ("audio_seconds",),
    "search": ("searches",),
}
PAIRS = (
    ("inference", "agents"),
    ("speech", "search"),
    ("inference", "speech"),
    ("agents", "search"),
    ("inference", "search"),
    ("agents", "speech"),
)
TOPS = {"input_tokens": 4_000, "output_tokens": 1_500, "runs": 3, "audio_seconds": 90_000, "searches": 1}


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a month is: the demo's by default, smaller in tests."""

    customers: int = 60
    bursts: int = BURSTS
    active_share: float = 0.7
    events_low: int = 34
    events_high: int = 46
    newcomers: int = 2
    leavers: int = 2
    upgrades: int = 2
    downgrades: int = 2


class MonthBuilder:
    """Lays the deliveries of a month on the instants at which they are published."""

    def __init__(self, seed: int, start_ms: int, end_ms: int, scale: Scale) -> None:
        self.random = random.Random(seed)
        self.seed, self.start_ms, self.end_ms, self.scale = seed, start_ms, end_ms, scale
        self.customers = make_customers(scale.customers)
        self.newcomers = self.customers[len(self.customers) - scale.newcomers :]
        self.leavers = self.customers[len(self.customers) - scale.newcomers - scale.leavers : len(self.customers) - scale.newcomers]
        stable = [one for one in self.customers if one not in (*self.newcomers, *self.leavers) and "agents" in one.products]
        self.upgraded = [one for one in stable if one.plan == "basic"][: scale.upgrades]
        self.downgraded = [one for one in stable if one.plan == "pro"][: scale.downgrades]
        self.serial = 0
        self.at: dict[int, list[Delivery]] = defaultdict(list)
        spacing = (end_ms - start_ms - 3 * DAY_MS) // scale.bursts // WINDOW_MS * WINDOW_MS
        self.windows = [start_ms + 6 * HOUR_MS + n * spacing + self.random.randrange(12) * WINDOW_MS for n in range(scale.bursts)]

    def build(self) -> Month:
        """Every burst, its follow-ups and what comes days later."""
        for number in range(len(self.windows)):
            firsts = self.first_deliveries(number)
            self.repeat_soon(number, firsts)
            self.repeat_later(number, firsts)
            self.contradict(number, firsts)
            self.stragglers(number)
            self.latecomers(number)
            self.trouble(number)
        self.behind_the_invoice()
        bursts = tuple(Burst(at, tuple(sorted(self.at[at], key=lambda d: d.arrival_ms))) for at in sorted(self.at))
        return Month(self.seed, self.start_ms, self.end_ms, self.customers, bursts, self.contracts())

    def contracts(self) -> tuple[Contract, ...]:
        """Who signs up a third into the month, who cancels in its middle, and who changes its plan, both a while after what they used."""
        third, half = len(self.windows) // 3, len(self.windows) // 2
        made = [Contract(self.main_ms(third + n) - HOUR_MS, one, Turn.SIGNS_UP) for n, one in enumerate(self.newcomers)]
        made += [Contract(self.follow_up_ms(half + n) + 2 * HOUR_MS, one, Turn.CANCELS) for n, one in enumerate(self.leavers)]
        changes = [(one, "pro") for one in self.upgraded] + [(one, "basic") for one in self.downgraded]
        made += [
            Contract(self.follow_up_ms(third + n) + 3 * HOUR_MS, one, Turn.CHANGES_PLAN, plan) for n, (one, plan) in enumerate(changes)
        ]
        return tuple(sorted(made, key=lambda contract: contract.at_ms))

    def active(self, number: int) -> list[Customer]:
        """Who uses anything in a burst: everybody but those who have left, and those too who have not come yet."""
        gone = [one for n, one in enumerate(self.leavers) if number > len(self.windows) // 2 + n]
        return [one for one in self.customers if one not in gone]

    def main_ms(self, number: int) -> int:
        """When the burst itself is published: its window is over, the first cut at window end + 1 min is still ahead."""
        return self.windows[number] + WINDOW_MS + 30 * SECOND_MS

    def follow_up_ms(self, number: int) -> int:
        """When what came late, but inside the billing window, is published."""
        return self.windows[number] + 50 * MINUTE_MS + 30 * SECOND_MS

    def next_ms(self, number: int, ahead: int = 1) -> int:
        """The main instant of a later burst; behind the last one, a day after it."""
        last = len(self.windows) - 1
        return self.main_ms(number + ahead) if number + ahead <= last else self.main_ms(last) + DAY_MS

    def add(self, at_ms: int, delivery: Delivery) -> Delivery:
        """Puts a delivery on an instant of the clock."""
        self.at[at_ms].append(delivery)
        return delivery

    def usage(self, customer: Customer, product: str, meter: str, event_time_ms: int) -> Usage:
        """A new fact with an id of its own."""
        self.serial += 1
        dimensions = {"model": self.random.choice(("large", "small")), "region": "eu"} if self.random.random() < 0.3 else {}
        quantity = self.random.randint(1, TOPS[meter])
        return Usage(product, f"{meter}-{self.serial:07d}", customer.name, meter, quantity, event_time_ms, dimensions=dimensions)

    def first_deliveries(self, number: int) -> list[Delivery]:
        """Each active customer uses each of its meters at least twenty times inside the window."""
        window_ms, at_ms = self.windows[number], self.main_ms(number)
        active = self.random.sample(self.active(number), max(2, int(len(self.customers) * self.scale.active_share)))
        firsts: list[Delivery] = []
        for customer, product, meter in streams(active):
            for _ in range(self.random.randint(self.scale.events_low, self.scale.events_high)):
                event_ms = window_ms + self.random.randrange(WINDOW_MS)
                arrival_ms = min(event_ms + self.random.randrange(20 * SECOND_MS), at_ms)
                usage = self.usage(customer, product, meter, event_ms)
                firsts.append(self.add(at_ms, Delivery(arrival_ms, usage, "first", confluent=self.random.random() < 0.1)))
        self.take_back(at_ms, firsts)
        return firsts

    def take_back(self, at_ms: int, firsts: list[Delivery]) -> None:
        """Some events are taken back in the same window: negative, with a reason, naming the one they correct."""
        for original in self.random.sample(firsts, len(firsts) // 150):
            usage = original.usage
            correction = replace(usage, id=f"refund:{usage.id}", quantity=-usage.quantity, reason="failed_run", corrects=usage.id)
            self.add(at_ms, Delivery(max(original.arrival_ms, at_ms - SECOND_MS), correction, "refund"))

    def repeat_soon(self, number: int, firsts: list[Delivery]) -> None:
        """A producer that did not see its acknowledgement sends again: same partition, another one, or the other framing."""
        at_ms = self.main_ms(number)
        for original in self.random.sample(firsts, int(len(firsts) * 0.038)):
            arrival_ms = self.random.randint(original.arrival_ms, at_ms)
            self.add(at_ms, self.again(original, arrival_ms))

    def again(self, original: Delivery, arrival_ms: int) -> Delivery:
        """The same fact once more, in one of the ways that must not matter."""
        return replace(
            original,
            arrival_ms=arrival_ms,
            made_as="duplicate",
            confluent=original.confluent if self.random.random() < 0.8 else not original.confluent,
            partition_shift=self.random.choice((0, 0, 0, 0, 1, 5)),
            dimensions_reversed=self.random.random() < 0.2,
        )

    def repeat_later(self, number: int, firsts: list[Delivery]) -> None:
        """A spool is replayed days later, and for a few bursts 25 h and 49 h later to the minute."""
        share = len(firsts) // 100
        for original in self.random.sample(firsts, share):
            at_ms = self.next_ms(number, self.random.randint(1, 4))
            self.add(at_ms, self.again(original, at_ms - self.random.randrange(WINDOW_MS)))
        if number % 8 != 1:
            return
        for hours in (25, 49):
            at_ms = self.main_ms(number) + hours * HOUR_MS
            for original in self.random.sample(firsts, share):
                self.add(at_ms, self.again(original, original.arrival_ms + hours * HOUR_MS))

    def contradict(self, number: int, firsts: list[Delivery]) -> None:
        """The same id with another quantity, always after the first one was captured: soon, after days, elsewhere, framed otherwise."""
        for turn, original in enumerate(self.random.sample(firsts, 4)):
            at_ms = self.follow_up_ms(number) if turn % 2 == 0 else self.next_ms(number, 1 + turn)
            usage = replace(original.usage, quantity=original.usage.quantity + 1)
            self.add(
                at_ms, Delivery(at_ms - SECOND_MS * (turn + 1), usage, "conflict", confluent=turn == 2, partition_shift=3 * (turn == 1))
            )

    def stragglers(self, number: int) -> None:
        """About 1 % arrive late but inside the window, a few of them at its very end."""
        window_ms, at_ms = self.windows[number], self.follow_up_ms(number)
        for customer, product, meter in self.random.sample(streams(self.active(number)), 2):
            for _ in range(22):
                event_ms = window_ms + self.random.randrange(WINDOW_MS)
                arrival_ms = min(event_ms + self.random.randint(30 * MINUTE_MS, 45 * MINUTE_MS), at_ms)
                self.add(at_ms, Delivery(arrival_ms, self.usage(customer, product, meter, event_ms), "straggler"))
        customer = next(c for c in self.customers if "inference" in c.products)
        for over_ms in (0, 1):
            usage = self.usage(customer, "inference", "input_tokens", window_ms + 200 * SECOND_MS)
            self.add(at_ms, Delivery(usage.event_time_ms + 45 * MINUTE_MS + over_ms, usage, "at_the_limit"))
        if number % 8 == 0:
            for event_ms in (window_ms, window_ms + WINDOW_MS):
                usage = self.usage(customer, "inference", "input_tokens", event_ms)
                self.add(self.main_ms(number), Delivery(event_ms + SECOND_MS, usage, "on_a_boundary"))

    def latecomers(self, number: int) -> None:
        """About 0.5 % arrive after the billing window, with the next burst; one is older than Stripe would take."""
        at_ms = self.next_ms(number)
        for customer, product, meter in self.random.sample(streams(self.active(number)), 4):
            for _ in range(6):
                event_ms = self.windows[number] + self.random.randrange(WINDOW_MS)
                self.add(
                    at_ms, Delivery(at_ms - self.random.randrange(MINUTE_MS), self.usage(customer, product, meter, event_ms), "latecomer")
                )
        customer = self.random.choice(self.active(number))
        product = customer.products[0]
        usage = self.usage(customer, product, PRODUCTS[product][0], at_ms - 36 * DAY_MS)
        self.add(at_ms, Delivery(at_ms - SECOND_MS, usage, "older_than_the_horizon"))

    def behind_the_invoice(self) -> None:
        """Usage of the month that arrives when its invoices are final: no invoice can take it any more."""
        at_ms = self.end_ms + 26 * HOUR_MS
        for customer, product, meter in self.random.sample(streams(self.active(len(self.windows) - 1)), 3):
            for _ in range(6):
                usage = self.usage(customer, product, meter, self.windows[-1] + self.random.randrange(WINDOW_MS))
                self.add(at_ms, Delivery(at_ms - self.random.randrange(MINUTE_MS), usage, "behind_the_invoice"))

    def trouble(self, number: int) -> None:
        """Bytes that are no event, and events that must be refused."""
        at_ms = self.main_ms(number)
        customer = self.random.choice(self.customers)
        product = customer.products[0]
        usage = self.usage(customer, product, PRODUCTS[product][0], self.windows[number] + MINUTE_MS)
        for delivery in (*hostile(usage, at_ms - 2 * SECOND_MS), *refused_facts(usage, at_ms - SECOND_MS)):
            self.add(at_ms, delivery)


def make_customers(count: int) -> tuple[Customer, ...]:
    """Customers with two products each; every third one is on plan pro."""
    return tuple(
        Customer(f"customer-{n:03d}", f"cus_month{n:03d}", "pro" if n % 3 == 0 else "basic", PAIRS[n % len(PAIRS)])
        for n in range(1, count + 1)
    )


def streams(customers: list[Customer] | tuple[Customer, ...]) -> list[tuple[Customer, str, str]]:
    """Every (customer, product, meter) that these customers use."""
    return [(customer, product, meter) for customer in customers for product in customer.products for meter in PRODUCTS[product]]


def make_month(seed: int, start_ms: int, end_ms: int, scale: Scale | None = None) -> Month:
    """The month of this seed between two instants; the same arguments always make the same deliveries."""
    return MonthBuilder(seed, start_ms, end_ms, scale or Scale()).build()
