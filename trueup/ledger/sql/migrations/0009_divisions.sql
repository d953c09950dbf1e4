-- Which postings a division took back: a part holds the events of these that lie in it, so that it can be divided again.
create table ledger.division (
    batch_id bigint not null,                  -- of the division
    subject_id bigint not null,
    segment_start timestamptz not null,        -- of the posting that was divided
    segment_end timestamptz not null,
    divided_batch_id bigint not null,          -- of the posting that was divided
    primary key (subject_id, segment_start, segment_end, divided_batch_id)
);
create index division_batch on ledger.division (batch_id, subject_id);

-- Divisions made before this table knew them took back what was captured whole.
insert into ledger.division (batch_id, subject_id, segment_start, segment_end, divided_batch_id)
select min(r.batch_id), q.subject_id, q.segment_start, q.segment_end, q.batch_id
from ledger.posting r
join ledger.batch w on w.batch_id = r.batch_id and w.kind = 'split'
join ledger.posting q
    on q.subject_id = r.subject_id and q.segment_start = r.segment_start and q.segment_end = r.segment_end and q.batch_id < r.batch_id
    and q.from_account = 1 and q.to_account = 2
join ledger.batch k on k.batch_id = q.batch_id and k.kind = 'capture'
where r.from_account = 1 and r.events < 0
group by q.subject_id, q.segment_start, q.segment_end, q.batch_id;
