-- When polling last found an event that no webhook had brought: an alarm must outlive the process that found it.
alter table ops.event_poll add column missed_at timestamptz;
