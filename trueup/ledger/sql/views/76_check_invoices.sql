-- Checks of what was billed: Stripe's invoice lines beside the ledger, in quantity and in money.

create view derived.check_lines_equal_ledger as
with posted as (
    -- What the postings themselves say, not what was noted beside them.
    select
        p.invoice_id,
        p.subscription_item_id,
        p.period_start,
        sum(m.invoiced) as invoiced,
        sum(m.missed) as missed
    from ledger.invoice_posting p
    cross join lateral (
        select
            coalesce(sum(q.quantity) filter (where q.to_account = 5), 0) as invoiced,
            coalesce(sum(q.quantity) filter (where q.to_account = 6), 0) as missed
        from ledger.posting q
        where q.batch_id = p.batch_id and q.from_account = 4
    ) m
    group by p.invoice_id, p.subscription_item_id, p.period_start
), noted as (
    select
        p.invoice_id, p.subscription_item_id, p.period_start,
        sum(a.quantity_invoiced) as invoiced, sum(a.quantity_missed) as missed
    from ledger.invoice_posting p
    join ledger.invoice_allocation a on a.invoice_posting_id = p.invoice_posting_id
    group by p.invoice_id, p.subscription_item_id, p.period_start
), beside as (
    select
        b.billed,
        b.postings,
        b.finalized_at,
        b.read_at,
        b.quantity_decimal * (10::numeric ^ b.scale) <> coalesce(p.invoiced, 0) as differs,
        coalesce(p.invoiced, 0) <> b.quantity_invoiced or coalesce(p.missed, 0) <> b.quantity_missed
            or coalesce(n.invoiced, 0) <> b.quantity_invoiced or coalesce(n.missed, 0) <> b.quantity_missed as torn,
        derived.stands_acknowledged(b.lane_id, b.stripe_customer, b.stripe_event_name, b.missed_by, b.period_start, b.period_end) as more
    from derived.billed_item b
    left join posted p
        on p.invoice_id = b.invoice_id and p.subscription_item_id = b.subscription_item_id and p.period_start = b.period_start
    left join noted n
        on n.invoice_id = b.invoice_id and n.subscription_item_id = b.subscription_item_id and n.period_start = b.period_start
    where b.billed or b.postings > 0
), astray as (
    -- Usage that is called invoiced or missed without an invoice that says so.
    select count(*) as postings
    from ledger.posting q
    where q.to_account in (5, 6) and not exists (select from ledger.invoice_posting p where p.batch_id = q.batch_id)
)
select
    'lines_equal_ledger' as check_name,
    count(*) as evaluated,
    -- An invoice that was voided after its usage was posted bills nothing any more.
    count(*) filter (where b.postings > 0 and (b.differs or b.torn or not b.billed)) + (select astray.postings from astray) as violations,
    0::bigint as stale,
    count(*) filter (where b.billed and (b.postings = 0 or (b.more and not b.differs and not b.torn))) as pending,
    min(b.finalized_at) filter (where b.billed and (b.postings = 0 or (b.more and not b.differs and not b.torn))) as oldest_pending_at,
    -- Stripe is read within hours of the finalization; a day of it being away, and a person's day.
    172800::bigint as pending_limit_seconds,
    min(b.read_at) as basis_as_of,
    exists (select from ledger.invoice_snapshot s join ledger.invoice_line l on l.snapshot_id = s.snapshot_id
        where s.finalized_at is not null and l.stripe_event_name is not null) as required,
    'Of every subscription item and period on a finalized invoice: the quantity of Stripe''s lines = what the ledger moved to invoiced for it, to the smallest unit, and nothing else is called invoiced or missed.' as meaning
from beside b;

create view derived.check_amounts_equal_invoice as
with line as (
    select
        i.invoice_id as source, i.read_at, l.subscription_item_id, l.price_id, l.period_start, l.tier, l.amount_minor, l.amount_mirror_minor
    from derived.invoice i
    join ledger.invoice_line l on l.snapshot_id = i.snapshot_id
    where l.stripe_event_name is not null and i.status <> 'deleted'
    union all
    select
        'preview:' || p.subscription_id, p.read_at, p.subscription_item_id, p.price_id, p.period_start, p.tier, p.amount_minor,
        p.amount_mirror_minor
    from ops.invoice_preview_line p
    where p.stripe_event_name is not null
), grouped as (
    -- By line where lines are the same, else by item: Stripe may show one line where we show one for each tier.
    select
        case
            when count(l.amount_mirror_minor) < count(*) then true
            when count(*) = 1 or count(l.tier) = count(*) then bool_or(l.amount_mirror_minor <> l.amount_minor)
            else sum(l.amount_mirror_minor) <> sum(l.amount_minor)
        end as different,
        min(l.read_at) as read_at
    from line l
    group by l.source, l.subscription_item_id, l.price_id, l.period_start
), summed as (
    select count(*) as invoices
    from derived.invoice i
    where i.status <> 'deleted' and i.subtotal_minor <> (
        select coalesce(sum(l.amount_minor), 0) from ledger.invoice_line l where l.snapshot_id = i.snapshot_id
    )
)
select
    'amounts_equal_invoice' as check_name,
    count(*) as evaluated,
    count(*) filter (where g.different) + (select summed.invoices from summed) as violations,
    0::bigint as stale,
    0::bigint as pending,
    null::timestamptz as oldest_pending_at,
    null::bigint as pending_limit_seconds,
    min(g.read_at) as basis_as_of,
    exists (select from ledger.invoice_snapshot s join ledger.invoice_line l on l.snapshot_id = s.snapshot_id
        where s.finalized_at is not null and l.stripe_event_name is not null) as required,
    'Of every usage line of an invoice or preview: its amount = what our own arithmetic makes of its quantity and price, to the minor unit, and an invoice''s lines add up to it.' as meaning
from grouped g;
