-- name: standing
-- What became of an event, for whoever published it; a row always, also of an event that nobody knows.
select
    e.late,
    (select count(*) from ledger.duplicate d where d.identity = %(identity)s and e.identity is not null) as duplicates,
    (select count(*) from ledger.conflict c where c.identity = %(identity)s and c.source = %(source)s and c.id = %(id)s) as conflicts,
    (
        select array[r.reason, r.field, r.detail] from ledger.refusal r
        where r.identity = %(identity)s and r.source = %(source)s and r.id = %(id)s
        order by r.arrival desc limit 1
    ) as refusal
from (select 1) as one
left join ledger.event e on e.identity = %(identity)s and e.source = %(source)s and e.id = %(id)s;

-- name: captured_through
-- Up to which offset a partition of the source topic was captured.
select coalesce((
    select s.next_offset from ledger.source_batch s where s.source_partition = %(partition)s order by s.first_offset desc limit 1
), (
    -- Nothing before it can ever be captured here.
    select max(o.source_offset) from ops.source_offset o where o.partition = %(partition)s
), 0);
