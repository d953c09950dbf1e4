-- name: steps
select j.step, j.at, j.detail
from derived.event_journey j
where j.identity = %(identity)s and j.source = %(source)s and j.event_id = %(id)s
order by j.at, j.place;

-- name: fate
-- What became of one delivery: the record at a source offset.
select
    (select r.reason from ledger.refusal r where r.source_partition = %(partition)s and r.source_offset = %(offset)s) as refused,
    exists (select from ledger.conflict c where c.source_partition = %(partition)s and c.source_offset = %(offset)s) as conflict,
    exists (select from ledger.duplicate d where d.source_partition = %(partition)s and d.source_offset = %(offset)s) as duplicate,
    (
        select e.late from ledger.event e
        where e.identity = %(identity)s and e.source_partition = %(partition)s and e.source_offset = %(offset)s
    ) as late,
    -- Only what the ledger holds, in a batch that dropped something, can have been dropped as a duplicate.
    s.duplicate_events > 0 and exists (select from ledger.event e where e.identity = %(identity)s) as droppable,
    s.batch_id,
    coalesce(%(offset)s < s.next_offset, false) as read
from (select 1) as one
left join lateral (
    select s.batch_id, s.next_offset, s.duplicate_events
    from ledger.source_batch s
    where s.source_partition = %(partition)s and s.first_offset <= %(offset)s
    order by s.first_offset desc
    limit 1
) s on true;
