"""Settings of the process that have to stand before torch and the model libraries are imported."""

from __future__ import annotations

import os

from gen3d.runtime.allocator import keep_freed_memory

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",  # spinning threads are many times slower on shared cores
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def prepare() -> None:
    """Makes the settings, where the user has not made others."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    keep_freed_memory()
