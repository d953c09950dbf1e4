"""`trueup keys`: who may come in through the HTTP doors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from trueup.cli.consent import ask, require_reason, who
from trueup.cli.faults import UsageFault
from trueup.cli.options import AsJson, Reason, Yes
from trueup.cli.output import emit_record, emit_rows, say
from trueup.cli.target import find_target, ledger
from trueup.ledger.store import api_keys

COLUMNS = ("key_id", "holder", "scopes", "sources", "made_at", "made_by", "reason", "revoked_at", "revoked_reason")
Holder = Annotated[str, typer.Argument(help="Whose key it is; a holder has at most two that are not revoked.")]
Scopes = Annotated[list[str] | None, typer.Option("--scope", help=f"What it opens: {', '.join(api_keys.SCOPES)}. By default events:write.")]
Sources = Annotated[list[str] | None, typer.Option("--source", help="A source it may write and look at; several times, or * for all.")]


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    nouns = typer.Typer(help="Keys to the HTTP doors.", no_args_is_help=True)
    nouns.command("create")(create)
    nouns.command("list")(list_)
    nouns.command("revoke")(revoke)
    app.add_typer(nouns, name="keys")


def create(holder: Holder, reason: Reason, scope: Scopes = None, source: Sources = None, as_json: AsJson = False) -> None:
    """Make a key and show it, the only time anyone sees it. To rotate: create, hand out, revoke the old one."""
    said = require_reason(reason)
    scopes, sources = scope or [api_keys.WRITE], source or []
    unknown = sorted(set(scopes) - set(api_keys.SCOPES))
    if unknown:
        raise UsageFault(f"--scope is one of {', '.join(api_keys.SCOPES)}, not {', '.join(unknown)}")
    if api_keys.WRITE in scopes and not sources:
        raise UsageFault("a key that writes events needs --source, once for each source it may write, or --source '*' for all")
    with ledger(find_target()) as connection:
        text = api_keys.create(connection, holder, scopes=scopes, sources=sources, reason=said, created_by=who())
    say("Keep it now: the ledger holds its hash only.")
    made = {"key_id": api_keys.id_in(text), "key": text, "holder": holder, "scopes": sorted(set(scopes)), "sources": sorted(set(sources))}
    emit_record(made, as_json=as_json)


def list_(as_json: AsJson = False) -> None:
    """Show every key ever made, without its text."""
    with ledger(find_target()) as connection:
        rows = [row_of(key) for key in api_keys.every(connection)]
    emit_rows(rows, COLUMNS, as_json=as_json)


def row_of(key: api_keys.ApiKey) -> dict[str, Any]:
    """A key as a row, its instants readable."""
    return {
        "key_id": key.key_id,
        "holder": key.holder,
        "scopes": list(key.scopes),
        "sources": list(key.sources),
        "made_at": datetime.fromtimestamp(key.recorded_at_ms / 1000, UTC),
        "made_by": key.created_by,
        "reason": key.reason,
        "revoked_at": None if key.revoked_at_ms is None else datetime.fromtimestamp(key.revoked_at_ms / 1000, UTC),
        "revoked_reason": key.revoked_reason,
    }


def revoke(
    key_id: Annotated[str, typer.Argument(help="The middle part of the key, as `keys list` shows it.")],
    reason: Reason,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take a key back: within two seconds it opens nothing any more."""
    said = require_reason(reason)
    target = find_target()
    ask(f"Take the key {key_id} back?", yes=yes)
    with ledger(target) as connection:
        new = api_keys.revoke(connection, key_id, reason=said, revoked_by=who())
    say(f"{key_id} is revoked." if new else f"{key_id} was revoked already.")
    emit_record({"key_id": key_id, "new": new}, as_json=as_json)
