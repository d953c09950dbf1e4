"""Hands in a true ledger: what each does to it, the check that must name it, and the checks that see it too."""

from __future__ import annotations

from dataclasses import dataclass

DIGESTS = ("postings_rebuilt_digest",)
REBUILT = ("totals_rebuilt_from_events", "postings_rebuilt_digest")
SEALED = ("chain_sealed",)


@dataclass(frozen=True, slots=True)
class Sabotage:
    """What is done to the ledger, the check that must name it, and the checks that see it too."""

    name: str
    check: str
    statement: str
    also: tuple[str, ...] = ()


SABOTAGES = [
    Sabotage(
        "an offset is skipped", "source_without_gap", "update ledger.source_batch set first_offset = 10 where first_offset = 9", SEALED
    ),
    Sabotage(
        "an offset is read twice", "source_without_gap", "update ledger.source_batch set next_offset = 10 where first_offset = 0", SEALED
    ),
    Sabotage(
        "the last progress record is lost",
        "source_without_gap",
        "delete from ledger.source_batch where first_offset = 9",
        ("on_time_and_late_captured", "chain_sealed"),
    ),
    *[
        Sabotage(
            f"{what} of what arrived is off by one",
            "arrived_equals_decided",
            f"update ledger.source_batch set arrived_{what} = arrived_{what} + 1 where first_offset = 0",
            SEALED,
        )
        for what in ("events", "quantity", "id_sum")
    ],
    *[
        Sabotage(
            f"{what} received is not what was announced",
            "on_time_and_late_captured",
            f"update ledger.source_batch set received_{what} = received_{what} - 1 where first_offset = 0",
            SEALED,
        )
        for what in ("on_time_events", "late_quantity", "refused_id_sum")
    ],
    Sabotage(
        "one event is lost and another takes its place",
        "on_time_and_late_captured",
        "update ledger.event set identity = 'ffffffff-ffff-ffff-ffff-ffffffffffff', id = 'other' where id = 'e2'",
        SEALED,
    ),
    Sabotage(
        "an event is lost",
        "on_time_and_late_captured",
        "delete from ledger.event where id = 'e2'",
        ("accounts_zero_sum", "chain_sealed", *REBUILT),
    ),
    Sabotage("a refusal is lost", "on_time_and_late_captured", "delete from ledger.refusal where source_offset = 7", SEALED),
    Sabotage("a conflict is lost", "on_time_and_late_captured", "delete from ledger.conflict", SEALED),
    Sabotage("two events have one id", "one_row_per_identity", "update ledger.event set id = 'e1' where id = 'e2'", SEALED),
    Sabotage(
        "an event stands there twice",
        "one_row_per_identity",
        "alter table ledger.event drop constraint event_pkey; insert into ledger.event select * from ledger.event where id = 'e1'",
        ("on_time_and_late_captured", "accounts_zero_sum", "chain_sealed", *REBUILT),
    ),
    Sabotage(
        "usage from nowhere",
        "accounts_zero_sum",
        """insert into ledger.posting
           select 999, subject_id, segment_start, segment_end, 1, 2, 1, 0, oldest_event_time, newest_event_time, null
           from ledger.posting where from_account = 1 limit 1""",
        REBUILT,
    ),
    Sabotage(
        "an event weighs more than was posted",
        "accounts_zero_sum",
        "update ledger.event set billable_quantity = billable_quantity + 1 where id = 'l1'",
        ("chain_sealed", *REBUILT),
    ),
    Sabotage(
        "an intent is acknowledged twice",
        "no_negative_holding",
        "insert into ledger.posting select * from ledger.posting where from_account = 3 and quantity = 9",
        ("outcome_state_machine", "hours_equal_summaries", *DIGESTS),
    ),
    Sabotage(
        "more leaves review than came",
        "no_negative_holding",
        """insert into ledger.posting
           select 999, subject_id, segment_start, segment_end, 8, 10, quantity + 1, events, oldest_event_time, newest_event_time, null
           from ledger.posting where to_account = 8""",
        DIGESTS,
    ),
    Sabotage("an intent's count is off", "intent_covers_postings_once", "update ledger.intent set events = events + 1 where quantity = 9"),
    Sabotage(
        "an intent's value is off",
        "intent_covers_postings_once",
        "update ledger.intent set quantity = quantity - 1 where quantity = 9",
        ("outcome_state_machine",),
    ),
    Sabotage(
        "an intent sends another value",
        "intent_covers_postings_once",
        "update ledger.intent set body = jsonb_set(body, '{payload,value}', '\"1.5\"') where quantity = 150",
    ),
    Sabotage(
        "a posting that committed late lies inside what was cut",
        "intent_covers_postings_once",
        """insert into ledger.posting
           select batch_id, subject_id, segment_start, segment_end, 1, 2, 1, 1, oldest_event_time, newest_event_time, null
           from ledger.posting where to_account = 2 and quantity = 9 and events = 3""",
        ("accounts_zero_sum", "chain_sealed", *REBUILT),
    ),
    Sabotage(
        "an intent begins behind where the last one ended",
        "intent_covers_postings_once",
        "update ledger.intent set after_batch = 1 where quantity = 9",
        DIGESTS,
    ),
    Sabotage(
        "unsent is taken without an intent",
        "intent_covers_postings_once",
        "update ledger.posting set intent_id = 999 where to_account = 3 and quantity = 9",
        ("no_negative_holding", *DIGESTS),
    ),
    Sabotage(
        "a final outcome is lost",
        "outcome_state_machine",
        "delete from ledger.outcome where outcome_id = (select max(outcome_id) from ledger.outcome)",
        DIGESTS,
    ),
    Sabotage(
        "an answer under an old lease ends an intent",
        "outcome_state_machine",
        "update ledger.outcome set posted = false where outcome_id = 1",
    ),
    Sabotage(
        "a call is made after the end",
        "outcome_state_machine",
        """insert into ledger.attempt (intent_id, number, lane_epoch, holder, idempotency_key, started_at)
           select intent_id, 2, lane_epoch, holder, idempotency_key, started_at + interval '1 second' from ledger.attempt limit 1""",
    ),
    Sabotage("an attempt is lost", "outcome_state_machine", "update ledger.attempt set number = 2"),
    Sabotage(
        "a rejected intent is called acknowledged",
        "outcome_state_machine",
        "update ledger.posting set to_account = 7 where from_account = 3 and quantity = 9",
        ("hours_equal_summaries", *DIGESTS),
    ),
    Sabotage(
        "a call is repeated after Stripe may have forgotten",
        "nothing_past_horizon",
        """update ledger.attempt set number = 2;
           insert into ledger.attempt (intent_id, number, lane_epoch, holder, idempotency_key, started_at)
           select intent_id, 1, lane_epoch, holder, idempotency_key, started_at - interval '20 hours 1 second' from ledger.attempt""",
    ),
    Sabotage("usage too old for Stripe is sent", "nothing_past_horizon", "update ledger.meter_version set horizon_seconds = 60"),
    Sabotage(
        "a call is made when the deadline has passed",
        "nothing_past_deadline",
        """insert into ledger.period_event (
               subscription_item_id, period_start, status, deadline, deadline_basis, why, cause_key, recorded_at
           )
           select subscription_item_id, period_start, 'closing', (select min(started_at) from ledger.attempt) + interval '599 s', 'draft',
               'test', 'test', '-infinity' from ledger.billing_period""",
        SEALED,
    ),
    Sabotage(
        "a deadline lets usage lie",
        "nothing_past_deadline",
        """insert into ops.uncovered_segment (subject_id, segment_start, due_at, waits_for, deadline)
           select subject_id, segment_start - interval '1 day', ops.now(), 'disarmed', ops.now() - interval '4 hours 1 second'
           from ledger.posting limit 1""",
    ),
    Sabotage(
        "usage that was given to a person is called acknowledged",
        "outcome_state_machine",
        "update ledger.outcome set class = 'expired', attempt_id = null where outcome_id = 1",
        DIGESTS,
    ),
    Sabotage(
        "an event is said to have gone elsewhere",
        "totals_rebuilt_from_events",
        """insert into ledger.diverted_event
           select identity, subject_id, batch_id, 8, 'past_deadline' from ledger.event where id = 'e2'""",
        DIGESTS,
    ),
    Sabotage(
        "Stripe counts one unit more", "hours_equal_summaries", "update ops.stripe_summary set quantity = quantity + 1 where quantity = 9"
    ),
    Sabotage(
        "Stripe counts one unit less", "hours_equal_summaries", "update ops.stripe_summary set quantity = quantity - 1 where quantity = 150"
    ),
    Sabotage(
        "one hour has what another lacks",
        "hours_equal_summaries",
        "update ops.stripe_summary set quantity = 109 - quantity where quantity in (9, 100)",
    ),
    Sabotage("a figure has too many digits", "hours_equal_summaries", "update ops.stripe_summary set exact = false where quantity = 9"),
    Sabotage(
        "Stripe billed a hundredth more than the ledger moved",
        "lines_equal_ledger",
        "update ledger.invoice_line set quantity_decimal = quantity_decimal + 0.01",
    ),
    Sabotage(
        "what was missed is called invoiced",
        "lines_equal_ledger",
        "update ledger.posting set to_account = 5 where to_account = 6",
        DIGESTS,
    ),
    Sabotage(
        "usage is called invoiced without an invoice",
        "lines_equal_ledger",
        """insert into ledger.posting (
               batch_id, subject_id, segment_start, segment_end, from_account, to_account, quantity, events,
               oldest_event_time, newest_event_time
           )
           select batch_id, subject_id, segment_start, segment_end, 4, 5, quantity, events, oldest_event_time, newest_event_time
           from ledger.posting where to_account = 4 and quantity = 9""",
        DIGESTS,
    ),
    Sabotage(
        "an invoice was voided after its usage was posted",
        "lines_equal_ledger",
        "update ledger.invoice_snapshot set status = 'void'",
    ),
    Sabotage(
        "a line is a minor unit dearer",
        "amounts_equal_invoice",
        """update ledger.invoice_line set amount_minor = amount_minor + 1;
           update ledger.invoice_snapshot set subtotal_minor = subtotal_minor + 1""",
    ),
    Sabotage("a line's price is not understood", "amounts_equal_invoice", "update ledger.invoice_line set amount_mirror_minor = null"),
    Sabotage(
        "an invoice is more than its lines",
        "amounts_equal_invoice",
        "update ledger.invoice_snapshot set subtotal_minor = subtotal_minor + 1",
    ),
    Sabotage("a table is unguarded", "append_only_guards", "drop trigger refuse_row_change on ledger.event"),
    Sabotage("a guard sleeps", "append_only_guards", "alter table ledger.posting disable trigger refuse_truncate"),
    Sabotage("a guard sleeps in replicas", "append_only_guards", "alter table ledger.batch enable trigger refuse_row_change"),
    Sabotage(
        "a guard looks at some rows only",
        "append_only_guards",
        """drop trigger refuse_row_change on ledger.outcome;
           create trigger refuse_row_change before update or delete on ledger.outcome for each row when (old.final)
           execute function ledger.refuse_change();
           alter table ledger.outcome enable always trigger refuse_row_change""",
    ),
    Sabotage(
        "the guard lets pass",
        "append_only_guards",
        """create or replace function ledger.refuse_change() returns trigger language plpgsql set search_path = pg_catalog
           as $$ begin if tg_op = 'DELETE' then return old; end if; return new; end $$""",
    ),
    Sabotage("a rule goes around the guard", "append_only_guards", "create rule quiet as on update to ledger.event do instead nothing"),
    Sabotage("the writer may update", "roles_and_grants", "grant update on ledger.event to trueup_writer"),
    Sabotage("the writer may update a column", "roles_and_grants", "grant update (quantity) on ledger.event to trueup_writer"),
    Sabotage("everybody may delete", "roles_and_grants", "grant delete on ledger.posting to public"),
    Sabotage("finance sees the tables", "roles_and_grants", "grant select on ledger.event to finance_ro"),
    Sabotage("a login role owns a table", "roles_and_grants", "alter table ledger.settlement owner to trueup_writer"),
    Sabotage("the writer may make tables", "roles_and_grants", "grant create on schema ledger to trueup_writer"),
    Sabotage("a function runs as its owner, led by the caller", "roles_and_grants", "alter function ops.now() reset search_path"),
    Sabotage("a reader acts as the owner", "roles_and_grants", "grant trueup_owner to finance_ro"),
    Sabotage("a reason is changed", "chain_sealed", "update ledger.event set reason = 'other' where id = 'e3'"),
    Sabotage("a kept record is changed", "chain_sealed", "update ledger.conflict set record = 'x'"),
    Sabotage("a conflict is said to have been of another quantity", "chain_sealed", "update ledger.conflict set quantity = quantity + 1"),
    Sabotage("a refusal is said to have been of another customer", "chain_sealed", "update ledger.refusal set customer = 'globex'"),
    Sabotage(
        "a customer was mapped by somebody else",
        "chain_sealed",
        "update ledger.customer_mapping set recorded_by = 'nobody' where mapping_id = 1",
    ),
    Sabotage("who said never is forgotten", "chain_sealed", "update ledger.never_billed_customer set recorded_by = 'nobody'"),
    Sabotage(
        "another customer is said to be never billed",
        "chain_sealed",
        "insert into ledger.never_billed_customer (customer, reason, recorded_by, recorded_at) values ('x', 'x', 'x', ops.now())",
    ),
    Sabotage(
        "who is never billed is taken out",
        "chain_sealed",
        "delete from ledger.never_billed_customer",
        ("intent_covers_postings_once",),
    ),
    Sabotage(
        "less is said to be waived than was",
        "intent_covers_postings_once",
        "update ledger.waived_segment set quantity = quantity - 1",
    ),
    Sabotage(
        "a waiver covers what came after its cut",
        "intent_covers_postings_once",
        "update ledger.waived_segment set through_batch = 10000",
    ),
    Sabotage(
        "unsent is waived without a word",
        "intent_covers_postings_once",
        """insert into ledger.posting
           select 999, subject_id, segment_start, segment_end, 2, 10, quantity, events, oldest_event_time, newest_event_time, null
           from ledger.posting join ledger.subject using (subject_id) where customer = 'globex'""",
        ("no_negative_holding", *DIGESTS),
    ),
    Sabotage(
        "a plan appears that nobody recorded",
        "chain_sealed",
        """insert into ledger.plan_fact (customer, plan, effective_from, subscription_id, cause_key, recorded_at)
           values ('acme', 'pro', ops.now() + interval '1 year', 'sub_x', 'x', ops.now())""",
    ),
    Sabotage(
        "a lane appears that nobody made",
        "chain_sealed",
        """insert into ledger.lane (stripe_customer, stripe_event_name) values ('cus_x', 'x')""",
    ),
    Sabotage("who armed is forgotten", "chain_sealed", "update ledger.arming set acted_by = 'nobody'"),
    Sabotage("a period is said to have had another price", "chain_sealed", "update ledger.billing_period set price_id = 'price_x'"),
    Sabotage("a seal is replaced", "chain_sealed", "update ledger.batch set chain_sha256 = sha256('x') where kind = 'capture'"),
    Sabotage(
        "a batch is unsealed",
        "chain_sealed",
        "update ledger.batch set chain_sha256 = null where batch_id = (select max(batch_id) from ledger.source_batch)",
    ),
    Sabotage(
        "an event counts in another segment",
        "totals_rebuilt_from_events",
        """update ledger.event set segment_start = segment_start + interval '5 minutes', segment_end = segment_end + interval '5 minutes'
           where id = 's1'""",
        ("chain_sealed", *DIGESTS),
    ),
    Sabotage(
        "late usage is called on time",
        "totals_rebuilt_from_events",
        "update ledger.event set late = false where id = 'l1'",
        ("chain_sealed", *DIGESTS),
    ),
    Sabotage(
        "a posting's dates are changed",
        "postings_rebuilt_digest",
        "update ledger.posting set newest_event_time = newest_event_time + interval '1 second' where to_account = 3 and quantity = 9",
    ),
]
