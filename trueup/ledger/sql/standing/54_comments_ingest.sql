-- What every table and column holds: the doors' part.

comment on table ledger.api_key is 'Keys to the doors over HTTP; one that stands in api_key_revocation opens nothing any more.';
comment on column ledger.api_key.key_id is 'Its name: the middle part of the key''s text, no secret.';
comment on column ledger.api_key.holder is 'Whose it is; a holder has at most two keys that are not revoked, so that one can follow the other.';
comment on column ledger.api_key.key_sha256 is 'SHA-256 of the key''s whole text; the text itself is shown once and kept nowhere.';
comment on column ledger.api_key.scopes is 'What it opens: events:write, usage:read, customers:write, review:decide.';
comment on column ledger.api_key.sources is 'The sources whose events it may write and look at; * is all of them.';
comment on column ledger.api_key.reason is 'Why it was made.';
comment on column ledger.api_key.created_by is 'By whom.';
comment on column ledger.api_key.recorded_at is 'When it was recorded.';

comment on table ledger.api_key_revocation is 'Keys that were taken back.';
comment on column ledger.api_key_revocation.key_id is 'Which.';
comment on column ledger.api_key_revocation.reason is 'Why.';
comment on column ledger.api_key_revocation.revoked_by is 'By whom.';
comment on column ledger.api_key_revocation.recorded_at is 'When it was recorded.';
