"""The judge is a stranger: nothing of ours is loaded with it."""

from __future__ import annotations

import subprocess
import sys


def test_it_imports_nothing_of_ours() -> None:
    """Loading the whole emulator loads no trueup, no service, and of devstack only itself."""
    code = (
        "import sys, devstack.stripe_emulator.__main__\n"
        "ours = [name for name in sys.modules if name.partition('.')[0] in ('trueup', 'services', 'devstack', 'stripe')]\n"
        "print('\\n'.join(name for name in ours if name != 'devstack' and not name.startswith('devstack.stripe_emulator')))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""
