"""What Khronos' gltf-validator says of GLB files: `python benchmarks/validate_glb.py a.glb ...`.

Needs node and `npm install gltf-validator`, found by NODE_PATH or GEN3D_GLTF_VALIDATOR (the folder `node_modules`).
Exit code 1 with errors. The validator (2.0.0-dev.3.10, the newest) is older than KHR_gaussian_splatting and takes the
extension's names of attributes, which hold a colon, for errors: these are counted apart.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_SCRIPT = """
const validator = require(process.argv[1]), fs = require('fs');
const options = {maxIssues: 0};
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[2])), options)
  .then(report => console.log(JSON.stringify(report.issues)));
"""
_ERROR = 0


def find_validator() -> Path | None:
    """The package gltf-validator, where node and it are installed."""
    if shutil.which("node") is None:
        return None
    folders = [os.environ.get("GEN3D_GLTF_VALIDATOR", ""), *os.environ.get("NODE_PATH", "").split(os.pathsep)]
    return next((Path(f) / "gltf-validator" for f in folders if f and (Path(f) / "gltf-validator").is_dir()), None)


def issues(path: Path, validator: Path) -> dict[str, Any]:
    """The validator's report on a file: numbers and messages; `unknown` counts the errors about splat attributes."""
    run = subprocess.run(
        ["node", "-e", _SCRIPT, str(validator.resolve()), str(path)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    report: dict[str, Any] = json.loads(run.stdout)
    errors = [message for message in report["messages"] if message["severity"] == _ERROR]
    report["unknown"] = sum(
        message["code"] == "MESH_PRIMITIVE_INVALID_ATTRIBUTE" and "KHR_gaussian_splatting:" in message["pointer"]
        for message in errors
    )
    report["numErrors"] -= report["unknown"]
    return report


def main(paths: list[str]) -> int:
    validator = find_validator()
    if validator is None:
        print("No gltf-validator: npm install gltf-validator, and point GEN3D_GLTF_VALIDATOR at its node_modules.")
        return 2
    failed = 0
    print(f"{'file':<40} errors warnings splat attributes it does not know")
    for path in paths:
        report = issues(Path(path), validator)
        print(f"{path[-40:]:<40} {report['numErrors']:6} {report['numWarnings']:8} {report['unknown']}")
        for message in report["messages"] if report["numErrors"] else []:
            print(f"  {message['code']} {message['pointer']}: {message['message']}")
        failed += report["numErrors"]
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
