"""How soon a local street takes Stripe's summaries for settled: nobody who plays waits for two hours."""

from __future__ import annotations

import re
import tomllib

SOONER = "PT5S"
"""The emulator counts within two seconds under the machine's clock."""

_SAID = re.compile(r'^([ \t]*)summary_settle[ \t]*=[ \t]*("[^"\n]*"|\'[^\'\n]*\')', re.MULTILINE)
_POLICY = re.compile(r"^[ \t]*\[[ \t]*policy[ \t]*\][^\n]*$", re.MULTILINE)


def settled_sooner(catalogue_toml: str) -> str:
    """The same catalogue, whatever it says of `summary_settle`, with the seconds that suffice here.

    One that declares its policy without a line `[policy]` is left as it is.
    """
    said = f'summary_settle = "{SOONER}"'
    text = _with(said, catalogue_toml)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return catalogue_toml  # written in a way of its own, or with a fault that whoever reads it names
    return text


def _with(said: str, catalogue_toml: str) -> str:
    text, count = _SAID.subn(lambda found: found[1] + said, catalogue_toml)
    if not count:
        text, count = _POLICY.subn(lambda found: f"{found[0]}\n{said}", catalogue_toml, count=1)
    return text if count else f"{catalogue_toml.rstrip()}\n\n[policy]\n{said}\n"
