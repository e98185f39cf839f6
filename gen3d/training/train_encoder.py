"""`gen3d train encoder`: one loop for all systems, over accelerate.

    gen3d train encoder --kind align CORPUS
    accelerate launch --multi_gpu -m gen3d train encoder --kind align CORPUS

Each step has a generator of its own, made of the seed, the step and the process, so that a resumed training goes on to
the same weights. The moving average of the weights is what is written.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import torch

from gen3d.corpus.store import Corpus
from gen3d.encoders.clip_mini import WEIGHTS_NAME
from gen3d.encoders.trained import ENCODER_NAME
from gen3d.encoders.view_averaged import ViewAveragedClip
from gen3d.errors import Gen3DError, UsageError
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.paths import packaged_weights
from gen3d.runtime.progress import LogReporter, Reporter
from gen3d.training.checkpoint import SAVE_EVERY_SECONDS, Budget, TrainingState, cosine_rate
from gen3d.training.encoder_data import FEATURES_FOLDER, EncoderData
from gen3d.training.systems.base import Batch, Options, System
from gen3d.training.systems.table import KINDS, WITHOUT_CLIP, build_system

WARMUP = 30
LARGEST_GRADIENT = 1.0
AVERAGE_DECAY = 0.995


def train_encoder(
    kind: str,
    corpus: Corpus,
    checkpoints: Path,
    out: Path,
    budget: Budget,
    *,
    clip: Path | None = None,
    seed: int = 0,
    options: Options | None = None,
    enriched: bool = True,
    filtered: bool = True,
    bf16: bool = False,
    device: str | None = None,
    reporter: Reporter | None = None,
    stop: StopFlag | None = None,
) -> Path | None:
    """Trains an encoder from the checkpoint in `checkpoints`, or anew, until the budget is spent; returns its file.

    kind: one of `KINDS`. clip: the folder of the frozen CLIP, by default gen3d's own; for "text2shape-gan" that of the
    trained Text2Shape. bf16: compute in bfloat16. device: "cpu" to leave a graphics card alone. After `stop` the
    checkpoint holds the state, and None is returned.

    Raises UsageError for what cannot be meant, Gen3DError where accelerate is missing or a checkpoint is of another
    training.
    """
    if kind not in KINDS:
        raise UsageError(f"'{kind}' is no kind of encoder; there are {', '.join(KINDS)}.")
    reporter, options = reporter or LogReporter(), options or Options()
    folder = _folder_of(kind, clip)
    accelerator = _accelerator(bf16, device)
    main = accelerator.is_main_process
    with accelerator.main_process_first():
        system = _system(kind, corpus, checkpoints, folder, options, enriched, filtered, seed, reporter)
    objective = system.objective.to(accelerator.device)
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": system.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=system.rate, betas=system.betas)
    state = TrainingState(
        checkpoints, objective, optimizer, seed, AVERAGE_DECAY, SAVE_EVERY_SECONDS if main else math.inf
    )
    if state.resume() and main:
        reporter.note(f"Continuing from step {state.step} after {state.seconds / 60:.1f} minutes of training.")
    model = accelerator.prepare(objective.train())
    reporter.stage(f"training {kind}")
    began, before, running = time.monotonic(), state.seconds, None
    while (spent := _agreed(accelerator, budget.spent(state), stop)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = system.rate * cosine_rate(spent, state.step, WARMUP)
        generator = torch.Generator().manual_seed(_seed(seed, state.step, accelerator))
        loss = _step(model, objective, optimizer, system.batch(generator, spent), state.step, accelerator)
        running = loss if running is None else 0.95 * running + 0.05 * loss
        # Writing a checkpoint takes part of the budget, too: all wall time counts.
        state.advance(before + time.monotonic() - began - state.seconds)
        if main and (state.step % 10 == 0 or budget.spent(state) >= 1):
            done, total = budget.count(state)
            reporter.step(int(done), max(1, math.ceil(total)), {"loss": running, "scale": objective.scale.item()})
    if main:
        state.save()
    accelerator.wait_for_everyone()
    if budget.spent(state) < 1:
        return None
    return system.save(state.averaged().cpu(), out) if main else out / ENCODER_NAME


def _folder_of(kind: str, clip: Path | None) -> Path:
    """The folder that a training begins with. Raises UsageError where it does not hold what it has to."""
    if kind == "text2shape-gan":
        if clip is None or not (clip / ENCODER_NAME).is_file():
            raise UsageError("The GAN of Text2Shape needs the folder of a trained 'text2shape': name it with --clip.")
        return clip
    folder = clip or packaged_weights()
    if not (folder / WEIGHTS_NAME).is_file():
        raise UsageError(f"There is no CLIP in '{folder}' ({WEIGHTS_NAME}): name a folder that 'gen3d train' wrote.")
    return folder


def _accelerator(bf16: bool, device: str | None) -> Any:
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.state import AcceleratorState
    except ImportError:
        raise Gen3DError("Training an encoder needs accelerate: run 'pip install gen3d[train]'.") from None
    AcceleratorState._reset_state()  # a process may train several, with several precisions
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # a GAN trains one half at a time
    return Accelerator(mixed_precision="bf16" if bf16 else None, cpu=device == "cpu", kwargs_handlers=[unused])


def _system(
    kind: str,
    corpus: Corpus,
    checkpoints: Path,
    folder: Path,
    options: Options,
    enriched: bool,
    filtered: bool,
    seed: int,
    reporter: Reporter,
) -> System:
    data = EncoderData(corpus, enriched=enriched, filtered=filtered)
    torch.manual_seed(seed)  # networks draw their weights from the global generator
    if kind in WITHOUT_CLIP:
        return build_system(kind, data, None, None, folder, options)
    clip = ViewAveragedClip.of_folder(folder)
    own = corpus.folder / FEATURES_FOLDER
    kept = own if own.is_dir() or os.access(corpus.folder, os.W_OK) else checkpoints
    return build_system(kind, data, clip, data.frozen(clip, kept, reporter), folder, options)


def _agreed(accelerator: Any, spent: float, stop: StopFlag | None) -> float:
    """The share of the budget that is spent, or 1 to stop, which all processes hold the same."""
    spent = 1.0 if stop else spent
    if accelerator.num_processes == 1:
        return spent
    shares = accelerator.gather(torch.tensor([spent], device=accelerator.device))
    return float(shares.max())


def _seed(seed: int, step: int, accelerator: Any) -> int:
    return seed * 1_000_003 + step * accelerator.num_processes + accelerator.process_index


def _step(
    model: torch.nn.Module,
    objective: Any,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    step: int,
    accelerator: Any,
) -> float:
    objective.before_step(step)
    loss = model({name: value.to(accelerator.device) for name, value in batch.items()})
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    objective.before_update()
    torch.nn.utils.clip_grad_norm_([p for p in objective.parameters() if p.grad is not None], LARGEST_GRADIENT)
    optimizer.step()
    objective.after_update()
    return float(loss.detach())
