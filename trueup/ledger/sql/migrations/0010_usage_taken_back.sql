-- What a customer took back in a period is shown beside what it used. Negative events are few, so finding them costs capture next to nothing.
-- squawk-ignore require-concurrent-index-creation
create index event_taken_back on ledger.event (subject_id, event_time) where quantity < 0;
