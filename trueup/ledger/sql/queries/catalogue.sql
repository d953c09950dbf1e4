-- name: held
-- A version as it stands in the ledger.
select v.content_sha256, ledger.milliseconds(v.appended_at) from ledger.catalogue_version v where v.version = %(version)s;

-- name: newest
-- The newest version that the ledger knows, 0 without any.
select coalesce(max(v.version), 0) from ledger.catalogue_version v;

-- name: add_version
insert into ledger.catalogue_version (
    version, content_toml, content_sha256, appended_at, in_force_from, finalization_grace_seconds, summary_settle_seconds,
    bill_from, recorded_at
)
values (
    %(version)s, %(content_toml)s, %(content_sha256)s, %(appended_at)s, coalesce(%(in_force_from)s, '-infinity'::timestamptz),
    %(finalization_grace_seconds)s, %(summary_settle_seconds)s, %(bill_from)s, ops.now()
)
on conflict (version) do nothing;

-- name: add_meter
insert into ledger.meter_version (
    version, meter, unit, scale, aggregation, billing_window_seconds, horizon_seconds, close_margin_seconds, roll_up_seconds
)
values (
    %(version)s, %(meter)s, %(unit)s, %(scale)s, %(aggregation)s, %(billing_window_seconds)s, %(horizon_seconds)s,
    %(close_margin_seconds)s, %(roll_up_seconds)s
);

-- name: add_event_name
insert into ledger.meter_event_name (version, meter, plan, stripe_event_name)
values (%(version)s, %(meter)s, %(plan)s, %(stripe_event_name)s);
