-- Keys to the doors over HTTP: which there are, and which were taken back. A key's own text is never kept, only its SHA-256.

create table ledger.api_key (
    key_id text primary key check (key_id ~ '^[0-9a-z]{8,32}$'),
    holder text not null check (holder <> ''),
    key_sha256 bytea not null unique check (octet_length(key_sha256) = 32),
    scopes text[] not null check (cardinality(scopes) > 0 and scopes <@ array['events:write', 'usage:read', 'customers:write', 'review:decide']),
    sources text[] not null,                   -- what it may write as; '*' is every source
    reason text not null,
    created_by text not null,
    recorded_at timestamptz not null
);
create index api_key_holder on ledger.api_key (holder);

create table ledger.api_key_revocation (
    key_id text primary key references ledger.api_key,
    reason text not null,
    revoked_by text not null,
    recorded_at timestamptz not null
);
