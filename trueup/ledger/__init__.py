"""The ledger: the only package that speaks SQL. README.md says what it owns, promises and refuses."""
