"""Which objects are held out from training: decided by a hash of the identifier, so never by hand or by order."""

from __future__ import annotations

import hashlib


def is_held_out(object_id: str, fraction: float = 0.06) -> bool:
    """Whether the object belongs to the held-out part, about `fraction` of all objects.

    Stable across runs, machines and corpora: the first eight bytes of the SHA-256 of the identifier, read as a number
    in [0, 1), are compared with `fraction`. Larger fractions therefore hold out a superset.
    """
    digest = hashlib.sha256(object_id.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < fraction
