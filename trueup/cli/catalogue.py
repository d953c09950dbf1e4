"""`trueup catalogue`: meters, plans and policies from a file to every room."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import requests
import typer

from devstack.settling import settled_sooner
from trueup.cli import catalogue_topic
from trueup.cli.consent import ask, who
from trueup.cli.doctor import LONGEST_GRACE_SECONDS
from trueup.cli.faults import AnswerIsNo, UsageFault
from trueup.cli.options import AsJson, Yes
from trueup.cli.output import emit_record, emit_rows, say
from trueup.cli.stripe_meters import MeterCheck, check_meters, client_for, create_meters
from trueup.cli.target import Target, find_target
from trueup.contracts.catalogue import Catalogue, CatalogueError, CatalogueVersion, check_succession, parse
from trueup.runtime.catalogue_topic import Appended

VERSION_METRIC = "trueup_catalogue_version"
ROOMS_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.2
File = Annotated[Path, typer.Argument(help="The catalogue, a TOML file.", exists=True, dir_okay=False, readable=True)]
Create = Annotated[bool, typer.Option("--create-in-stripe", help="Create the meters that Stripe lacks.")]


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    nouns = typer.Typer(help="Meters, plans and policies.", no_args_is_help=True)
    nouns.command("check")(check)
    nouns.command("plan")(plan)
    nouns.command("apply")(apply)
    app.add_typer(nouns, name="catalogue")


def read(file: Path, *, as_json: bool) -> tuple[str, Catalogue]:
    """The file and what it says; every fault is shown with its line."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        refuse(f"not UTF-8: {fault.reason} at byte {fault.start}", as_json=as_json)
        raise AnswerIsNo(f"{file} is not UTF-8: {fault.reason} at byte {fault.start}") from fault
    try:
        catalogue = parse(text)
    except CatalogueError as refused:
        emit_rows([{"line": fault.line, "fault": fault.message} for fault in refused.faults], ("line", "fault"), as_json=as_json)
        raise AnswerIsNo(f"{file} is refused: {len(refused.faults)} {'fault' if len(refused.faults) == 1 else 'faults'}") from refused
    if catalogue.policy.finalization_grace_seconds > LONGEST_GRACE_SECONDS:
        refuse("policy.finalization_grace is longer than the 72 h that Stripe keeps an invoice open", as_json=as_json)
        raise AnswerIsNo(f"{file}: policy.finalization_grace is longer than the 72 h that Stripe keeps an invoice open")
    return text, catalogue


def refuse(fault: str, *, as_json: bool) -> None:
    """Show a fault that stands in no one line."""
    if as_json:
        emit_rows([{"line": None, "fault": fault}], ("line", "fault"), as_json=True)


def fitted(text: str, target: Target) -> tuple[str, Catalogue]:
    """A catalogue as it is put in force there: a local street does not wait for summaries as long as Stripe needs."""
    here = settled_sooner(text) if target.settles_sooner else text
    return here, parse(here)


def check(file: File, as_json: AsJson = False) -> None:
    """Read a file and name every fault by its line; asks nobody."""
    _, catalogue = read(file, as_json=as_json)
    say(f"{file} is right: {len(catalogue.meters)} meters, {len(catalogue.plans)} plans.")
    if as_json:
        emit_rows([], (), as_json=True)


def changes(old: Catalogue | None, new: Catalogue) -> Iterator[dict[str, Any]]:
    """What a new version changes, one row per value."""
    before = {} if old is None else described(old)
    after = described(new)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield {"what": name, "is": before.get(name), "becomes": after.get(name)}


def described(catalogue: Catalogue) -> dict[str, str]:
    """Every value of a catalogue by its place in the file."""
    values: dict[str, str] = {}
    for name, meter in catalogue.meters.items():
        values |= {f"meter.{name}.{field.name}": str(getattr(meter, field.name)) for field in fields(meter) if field.name != "name"}
    for name, plan_ in catalogue.plans.items():
        values[f"plan.{name}.stripe_prices"] = ", ".join(plan_.stripe_prices)
    values |= {f"policy.{field.name}": str(getattr(catalogue.policy, field.name)) for field in fields(catalogue.policy)}
    return values


def plan(file: File, as_json: AsJson = False) -> None:
    """Show what would change, here and in Stripe; changes nothing."""
    text, _ = read(file, as_json=as_json)
    target = find_target()
    _, catalogue = fitted(text, target)
    versions = catalogue_topic.read_versions(target)
    newest = versions[-1].content if versions else None
    refuse_bent_meters([version.content for version in versions], catalogue)
    rows = list(changes(newest, catalogue))
    meters = check_meters(client_for(target), catalogue)
    if as_json:
        emit_record({"changes": rows, "stripe_meters": [asdict(meter) for meter in meters]}, as_json=True)
        return
    emit_rows(rows, ("what", "is", "becomes"), as_json=False)
    emit_rows([asdict(meter) for meter in meters], ("stripe_event_name", "meter", "state", "detail"), as_json=False)


def refuse_bent_meters(versions: Iterable[Catalogue], new: Catalogue) -> None:
    """Unit, scale and aggregation of a meter in use are fixed, in every version there was."""
    faults = dict.fromkeys(str(fault) for old in versions for fault in check_succession(old, new))
    if faults:
        raise AnswerIsNo("; ".join(faults))


def apply(
    file: File,
    create_in_stripe: Create = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; travels with the version.")] = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put a catalogue in force. The first from the beginning, a later one from its own append time + 60 s."""
    text, _ = read(file, as_json=as_json)
    target = find_target()
    text, catalogue = fitted(text, target)
    versions = catalogue_topic.read_versions(target)
    newest = versions[-1] if versions else None
    if newest is not None and newest.version.content_toml == text:
        wait_for_rooms(target, newest.version.version)
        say(f"This is version {newest.version.version}, already applied.")
        emit_record({"version": newest.version.version, "appended": False, "meters_created": []}, as_json=as_json)
        return
    refuse_bent_meters([version.content for version in versions], catalogue)
    if newest is not None and not reason.strip():
        raise UsageFault("a change of the catalogue changes money: say why with --reason")
    if newest is not None:
        ask(f"Put version {newest.version.version + 1} of the catalogue in force?", yes=yes)
    created = settle_meters(target, catalogue, create=create_in_stripe)
    number = 1 if newest is None else newest.version.version + 1
    catalogue_topic.append(target, CatalogueVersion(number, text, who(), reason.strip()))
    refuse_second(catalogue_topic.read_versions(target), number, text)
    wait_for_rooms(target, number)
    if target.room_urls:
        say(f"Version {number} is with every room.")
    else:
        say(f"Version {number} is on its topic; {VERSION_METRIC} of each room shows when it took it up.")
    emit_record({"version": number, "appended": True, "meters_created": created}, as_json=as_json)


def refuse_second(versions: Iterable[Appended], number: int, text: str) -> None:
    """Of two that were applied at the same time the first on the topic is in force; the other one is told."""
    (stands,) = [one.version for one in versions if one.version.version == number]
    if stands.content_toml != text:
        raise AnswerIsNo(
            f"{stands.applied_by} put another version {number} in force at the same time, and yours counts nowhere: plan it again"
        )


def settle_meters(target: Target, catalogue: Catalogue, *, create: bool) -> list[str]:
    """Every meter must be fit at Stripe before a version counts on it; missing ones are created only when told to."""
    client = client_for(target)
    meters = check_meters(client, catalogue)
    refused = [meter for meter in meters if meter.state == "unfit"]
    missing = [meter for meter in meters if meter.state == "missing"]
    if refused:
        raise AnswerIsNo("; ".join(told(meter) for meter in refused))
    if missing and not create:
        raise AnswerIsNo("; ".join(told(meter) for meter in missing) + " (--create-in-stripe creates what is missing)")
    return create_meters(client, missing)


def told(meter: MeterCheck) -> str:
    """A meter's fault as half a sentence."""
    return f"Stripe meter {meter.stripe_event_name} for {meter.meter}: {meter.detail}"


def wait_for_rooms(target: Target, version: int) -> None:
    """Returns when every room that reads the catalogue shows this version in its metrics."""
    waiting = dict(target.room_urls)
    until = time.monotonic() + ROOMS_TIMEOUT_SECONDS
    while waiting:
        waiting = {room: url for room, url in waiting.items() if not has_version(url, version)}
        if waiting and time.monotonic() > until:
            raise AnswerIsNo(f"version {version} is on the topic, but {', '.join(sorted(waiting))} did not take it up")
        if waiting:
            time.sleep(POLL_SECONDS)


def has_version(url: str, version: int) -> bool:
    """Whether a room has taken up a version; a room that reads no catalogue has no such metric and is not waited for."""
    try:
        text = requests.get(url, timeout=5).text
    except requests.RequestException:
        return False
    shown = [line.split()[-1] for line in text.splitlines() if line.startswith(VERSION_METRIC)]
    return all(float(value) >= version for value in shown)
