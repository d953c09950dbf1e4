"""The signature of a webhook: ``t=…,v1=…`` over ``<t>.<body>``, one v1 for each secret in force."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from devstack.stripe_emulator.state import Object


def new_secret() -> str:
    """Make a signing secret."""
    return "whsec_" + secrets.token_hex(16)


def signature(body: bytes, timestamp: int, keys: list[str]) -> str:
    """Sign a body."""
    signed = str(timestamp).encode() + b"." + body
    parts = [f"v1={hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()}" for key in keys]
    return ",".join([f"t={timestamp}", *parts, "v0=" + hashlib.sha256(signed).hexdigest()])


def keys_in_force(endpoint: Object, now_ms: int) -> list[str]:
    """Give the secrets of an endpoint: the newest first, and an older one until it expires."""
    return [entry["secret"] for entry in endpoint["secrets"] if entry["until_ms"] is None or entry["until_ms"] > now_ms]
