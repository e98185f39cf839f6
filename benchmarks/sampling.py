"""Where guidance takes samples of the shape prior: how far they end up from the codes of real objects.

    python benchmarks/sampling.py [--prompts FILE] [--count 4]

For each part of the diffusion in which guidance acts: the distance of a sample's shape code to that of the nearest
training object, over the training objects' mean spacing (median), and how often that object is called what the prompt
asks for.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from gen3d.language.phrases import mentions
from gen3d.language.prompts import load_prompt_list
from gen3d.priors.shape_prior import ShapePrior

SETTINGS = {"throughout": (2.5, 0.0), "above 0.5": (2.5, 0.5), "above 0.8": (2.5, 0.8), "nowhere": (1.0, 0.0)}
"""Guidance scale and the time above which it acts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, default=Path("prompts/evaluation60.txt"))
    parser.add_argument("--count", type=int, default=4, help="samples of each prompt")
    args = parser.parse_args()
    prior, prompts = ShapePrior.load(), load_prompt_list(args.prompts)
    features = prior.text.encode(prompts)
    print("| guidance | distance | nearest object is the prompt's |\n|---|---|---|")
    for label, (scale, above) in SETTINGS.items():
        generator = torch.Generator().manual_seed(0)
        distances, named = [], 0
        for prompt, feature in zip(prompts, features, strict=True):
            subject = re.sub(r"^(an?|the) ", "", prompt)
            for code in prior.sample(feature, args.count, generator, scale, guided_above=above).split(1):
                name, distance = prior.nearest_training_object(code)
                distances.append(distance)
                named += mentions(subject, name) or mentions(name, subject)
        print(f"| {label} | {torch.tensor(distances).median():.3f} | {named / len(distances):.0%} |", flush=True)


if __name__ == "__main__":
    main()
