-- name: held
select d.stripe_account, d.livemode from ledger.deployment d;

-- name: add
insert into ledger.deployment (stripe_account, livemode, recorded_at)
values (%(stripe_account)s, %(livemode)s, ops.now())
on conflict do nothing;
