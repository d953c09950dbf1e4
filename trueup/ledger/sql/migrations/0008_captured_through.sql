-- Usage that arrived before this instant, by the broker's append time, is captured on every partition: what a period's close waits for.
create table ops.captured_through (
    only_row boolean primary key default true check (only_row),
    through timestamptz not null
);
