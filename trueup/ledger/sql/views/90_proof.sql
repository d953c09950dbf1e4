-- All checks in one table, with one rule for their status.
create view derived.proof as
with measured as (
    select 1 as place, false as deep, c.* from derived.check_source_without_gap c
    union all
    select 2, false, c.* from derived.check_arrived_equals_decided c
    union all
    select 3, false, c.* from derived.check_on_time_and_late_captured c
    union all
    select 4, false, c.* from derived.check_one_row_per_identity c
    union all
    select 5, false, c.* from derived.check_accounts_zero_sum c
    union all
    select 6, false, c.* from derived.check_no_negative_holding c
    union all
    select 7, false, c.* from derived.check_intent_covers_postings_once c
    union all
    select 8, false, c.* from derived.check_outcome_state_machine c
    union all
    select 9, false, c.* from derived.check_nothing_past_horizon c
    union all
    select 10, false, c.* from derived.check_nothing_past_deadline c
    union all
    select 11, false, c.* from derived.check_hours_equal_summaries c
    union all
    select 12, false, c.* from derived.check_lines_equal_ledger c
    union all
    select 13, false, c.* from derived.check_amounts_equal_invoice c
    union all
    select 14, false, c.* from derived.check_append_only_guards c
    union all
    select 15, false, c.* from derived.check_roles_and_grants c
    union all
    select 16, false, c.* from derived.check_chain_sealed c
    union all
    select 17, true, c.* from derived.check_totals_rebuilt_from_events c
    union all
    select 18, true, c.* from derived.check_postings_rebuilt_digest c
)
select
    m.check_name,
    case
        when m.violations > 0 then 'violated'
        when m.pending > 0 and m.oldest_pending_at + m.pending_limit_seconds * interval '1 second' < ops.now() then 'violated'
        when m.stale > 0 then 'stale'
        when m.pending > 0 then 'pending'
        when m.evaluated = 0 then 'empty'
        else 'ok'
    end as status,
    m.evaluated,
    m.violations,
    m.pending,
    m.oldest_pending_at,
    m.pending_limit_seconds,
    m.basis_as_of,
    m.meaning,
    ops.now() as checked_at,
    m.stale,
    m.required,
    m.place,
    m.deep
from measured m;

create view finance.proof as
select
    p.check_name, p.status, p.evaluated, p.violations, p.pending, p.oldest_pending_at, p.pending_limit_seconds, p.basis_as_of, p.meaning,
    p.checked_at, p.stale, p.required, p.place
from derived.proof p
where not p.deep;

create view finance.proof_deep as
select
    p.check_name, p.status, p.evaluated, p.violations, p.pending, p.oldest_pending_at, p.pending_limit_seconds, p.basis_as_of, p.meaning,
    p.checked_at, p.stale, p.required, p.place
from derived.proof p
where p.deep;

comment on view finance.proof is 'What the pipeline claims, checked now: one row per check. Reading it evaluates it.';
comment on view finance.proof_deep is 'The checks that read every event and posting and build the books again; reading it evaluates it, which takes a while.';
do $$
declare
    name text;
    said record;
begin
    foreach name in array array['proof', 'proof_deep'] loop
        for said in
            select * from (values
                ('check_name', 'Name of the check.'),
                ('status', 'ok; pending (work on its way, younger than the limit); violated (also: pending past its limit); stale (a stored reading of Stripe is too old); empty (nothing to evaluate).'),
                ('evaluated', 'How many things were looked at.'),
                ('violations', 'How many of them break the claim.'),
                ('pending', 'How many wait for work that is on its way.'),
                ('oldest_pending_at', 'Since when the oldest of those waits.'),
                ('pending_limit_seconds', 'How long they may wait before the check is violated; null where nothing may wait.'),
                ('basis_as_of', 'How new what was looked at is.'),
                ('meaning', 'What the check claims, in words.'),
                ('checked_at', 'When it was evaluated.'),
                ('stale', 'How many rest on a reading of Stripe that is too old.'),
                ('required', 'True when stored rows say that the check must have something to evaluate: then empty is a failure.'),
                ('place', 'Order in which checks are shown.')
            ) as v (column_name, sentence)
        loop
            execute format('comment on column finance.%I.%I is %L', name, said.column_name, said.sentence);
        end loop;
    end loop;
end $$;
