"""The attribution that CC-BY asks for: every author, work and licence of the corpus, shipped with trained weights."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from gen3d.corpus.store import ObjectRecord


def write_attribution(path: Path, records: list[ObjectRecord]) -> None:
    """Writes a Markdown file that names every creator, licence and object that trained a model."""
    works: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in records:
        if record.trains:
            works[(record.license or "unknown", record.creator or "unknown")].append(record.name)
    lines = [
        "# Attribution",
        "",
        "The models in this folder were trained on the 3D objects below, normalised, sampled, recoloured and rendered.",
        "",
    ]
    share_alike = sorted({record.license for record in records if record.share_alike and record.trains})
    if share_alike:
        lines += [
            f"Objects under {', '.join(share_alike)} are among them, so the models are given under CC-BY-SA 4.0.",
            "",
        ]
    for license_name in sorted({key[0] for key in works}):
        lines += [f"## {license_name}", ""]
        for (license_key, creator), names in sorted(works.items()):
            if license_key == license_name:
                lines.append(f"- **{creator}**: {', '.join(sorted(set(names)))}")
        lines.append("")
    temporary = path.with_suffix(".tmp")
    temporary.write_text("\n".join(lines), encoding="utf-8")
    os.replace(temporary, path)
