-- name: one_at_a_time
-- Two that make a key for one holder at the same moment would each count one live key.
select pg_advisory_xact_lock(7305104, hashtext(%(holder)s));

-- name: live_of
select k.key_id from ledger.api_key k
where k.holder = %(holder)s and not exists (select from ledger.api_key_revocation r where r.key_id = k.key_id)
order by k.recorded_at, k.key_id;

-- name: add
insert into ledger.api_key (key_id, holder, key_sha256, scopes, sources, reason, created_by, recorded_at)
values (%(key_id)s, %(holder)s, %(key_sha256)s, %(scopes)s, %(sources)s, %(reason)s, %(created_by)s, ops.now())
on conflict (key_id) do nothing;

-- name: revoke
insert into ledger.api_key_revocation (key_id, reason, revoked_by, recorded_at)
select k.key_id, %(reason)s, %(revoked_by)s, ops.now() from ledger.api_key k where k.key_id = %(key_id)s
on conflict (key_id) do nothing;

-- name: known
select exists (select from ledger.api_key k where k.key_id = %(key_id)s);

-- name: keys
select k.key_id, k.holder, k.key_sha256, k.scopes, k.sources, k.reason, k.created_by, ledger.milliseconds(k.recorded_at),
    ledger.milliseconds(r.recorded_at) as revoked_at_ms, r.reason as revoked_reason
from ledger.api_key k
left join ledger.api_key_revocation r on r.key_id = k.key_id
order by k.recorded_at, k.key_id;

-- name: live
-- What a room with doors needs of them, also one that sees no table.
select k.key_id, k.holder, k.key_sha256, k.scopes, k.sources, k.reason, k.created_by, k.recorded_at_ms from derived.live_api_key k;
