-- One open flush a customer and reason: who asks again raises it, and Stripe is not asked once for every time that somebody did.
delete from ops.flush f
where f.done_at is null and exists (
    select from ops.flush n where n.customer = f.customer and n.reason = f.reason and n.done_at is null and n.flush_id > f.flush_id
);
-- squawk-ignore require-concurrent-index-creation
create unique index flush_open_reason on ops.flush (customer, reason) where done_at is null;
-- squawk-ignore require-concurrent-index-deletion
drop index ops.flush_open;

-- Until Stripe was asked for it, nothing of old readings says that a flush can't end.
alter table ops.flush add column compared_at timestamptz;
