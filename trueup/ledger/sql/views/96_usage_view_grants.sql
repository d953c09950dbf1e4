-- The hashes of keys are for the rooms whose doors they open.
revoke all on derived.live_api_key from finance_ro;
