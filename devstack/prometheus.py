"""A real Prometheus and its promtool: the machine's own, else Debian's package unpacked into this repository's folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from devstack.java import Say
from devstack.places import cache_folder

PROGRAMS = ("prometheus", "promtool")
_INSTALL = "sudo apt-get install --no-install-recommends prometheus"


class PrometheusMissing(RuntimeError):
    """Neither installed nor to be fetched; the message says what to type."""


def prometheus_folder(say: Say = print) -> Path:
    """The folder with `prometheus` and `promtool`: `TRUEUP_PROMETHEUS_BIN`, the machine's, or ours, fetched once (19 MB)."""
    named = os.environ.get("TRUEUP_PROMETHEUS_BIN")
    if named:
        return Path(named)
    installed = [shutil.which(program) for program in PROGRAMS]
    if all(installed):
        return Path(str(installed[0])).parent
    ours = cache_folder() / "prometheus" / "usr" / "bin"
    if not all((ours / program).exists() for program in PROGRAMS):
        say("prometheus: fetching Debian's package, 19 MB (once)")
        _unpack(cache_folder() / "prometheus")
    return ours


def _unpack(into: Path) -> None:
    """Package lists of our own, so that nobody has to be root and the machine's are left alone."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise PrometheusMissing("no Prometheus, and this is no Debian: install prometheus and promtool, or set TRUEUP_PROMETHEUS_BIN")
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent) as work:
        state, cache = Path(work, "state"), Path(work, "cache")
        for needed in (state / "lists" / "partial", cache / "archives" / "partial"):
            needed.mkdir(parents=True)
        own = {"Dir::State": state, "Dir::State::status": "/var/lib/dpkg/status", "Dir::Cache": cache, "APT::Sandbox::User": "root"}
        options = [part for key, value in own.items() for part in ("-o", f"{key}={value}")]
        for verb in (("update",), ("download", "prometheus")):
            _run(("apt-get", "-qq", *options, *verb), work)
        (package,) = Path(work).glob("prometheus_*.deb")
        _run(("dpkg-deb", "-x", str(package), "unpacked"), work)
        if not all((into / "usr" / "bin" / program).exists() for program in PROGRAMS):  # somebody else may have been faster
            shutil.rmtree(into, ignore_errors=True)
            Path(work, "unpacked").rename(into)


def _run(command: tuple[str, ...], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PrometheusMissing(f"Prometheus could not be fetched ({' '.join(command[:1])}: {done.stderr.strip()}); type: {_INSTALL}")


if __name__ == "__main__":
    prometheus_folder()
