"""Text encoders that ship in a wheel, compared at what the shape prior needs of them.

    pip install wordllama && python benchmarks/text_encoders.py

- Unseen words: those of MEANINGS that no caption of the corpus has. How often is the name it means, or a kind of it,
  the nearest of all corpus names (top-1) or among the nearest five?
- Word order and binding: sentences that differ only in which object has which colour or lies where. How far apart are
  they, as a part of the distance to a sentence about other things? 0: the encoder cannot tell them apart.
- Speed: sentences per second on one thread.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import Tensor
from torch.nn.functional import normalize

from gen3d.priors.shape_prior import ShapePrior

Encode = Callable[[list[str]], Tensor]

MEANINGS = {
    "settee": "sofa", "loveseat": "sofa", "divan": "sofa", "davenport": "sofa", "kitty": "cat", "feline": "cat",
    "kitten": "cat", "puppy": "dog", "hound": "dog", "canine": "dog", "pony": "horse", "stallion": "horse",
    "mare": "horse", "bunny": "rabbit", "hen": "chicken", "rooster": "chicken", "automobile": "car", "sedan": "car",
    "coupe": "car", "lorry": "truck", "coach": "bus", "minibus": "bus", "motorbike": "motorcycle", "bike": "bicycle",
    "cycle": "bicycle", "dinghy": "rowboat", "canoe": "rowboat", "fridge": "refrigerator", "icebox": "refrigerator",
    "telly": "television", "notebook computer": "laptop", "cupboard": "wardrobe", "burger": "hamburger",
    "cheeseburger": "hamburger", "espresso maker": "moka pot", "gentleman": "standing man", "lady": "standing woman",
    "bathing tub": "bathtub", "lavatory": "toilet", "fir": "christmas tree",
}  # fmt: skip

ORDERS = (
    ("a red chair and a blue table", "a blue chair and a red table"),
    ("a cube on top of a cylinder", "a cylinder on top of a cube"),
    ("a green sphere to the left of a cone", "a cone to the left of a green sphere"),
    ("a white horse with a black saddle", "a black horse with a white saddle"),
    ("a small lamp on a large desk", "a large lamp on a small desk"),
)
OTHER = "a bowl of fresh fruit"


def unseen_words(encode: Encode, names: list[str], unseen: dict[str, str]) -> tuple[float, float]:
    """Parts of the words whose name, or a name that ends in it, is the nearest or among the nearest five."""
    gallery = normalize(encode([f"a {name}" for name in names]), dim=-1)
    hits = torch.zeros(2)
    for word, meaning in unseen.items():
        nearest = (gallery @ normalize(encode([f"a {word}"]), dim=-1)[0]).topk(5).indices.tolist()
        right = [names[i] == meaning or names[i].endswith(f" {meaning}") for i in nearest]
        hits += torch.tensor([float(right[0]), float(any(right))])
    return tuple((hits / len(unseen)).tolist())  # type: ignore[return-value]


def word_order(encode: Encode) -> float:
    """Mean distance between the sentences of a pair over their mean distance to another sentence."""
    ratios = []
    for pair in ORDERS:
        one, two, other = normalize(encode([*pair, OTHER]), dim=-1)
        ratios.append((one - two).norm() / (0.5 * ((one - other).norm() + (two - other).norm())))
    return float(torch.stack(ratios).mean())


def speed(encode: Encode, names: list[str]) -> float:
    texts = [f"a red {name}" for name in names][:256]
    encode(texts)
    began = time.perf_counter()
    encode(texts)
    return len(texts) / (time.perf_counter() - began)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    prior = ShapePrior.load()
    names, mini = prior.concepts.names, prior.text
    unseen = {word: name for word, name in MEANINGS.items() if prior.concepts.check(word, mini.encode([word])[0])}
    encoders: dict[str, Encode] = {
        "MiniLM, sentence": lambda texts: mini.encode(texts)[:, :384],
        "MiniLM, word vectors": lambda texts: mini.encode(texts)[:, 384:],
        "both, as shipped": mini.encode,
    }
    try:
        import wordllama

        # It looks for its own tokenizer in the wrong one of its folders, unless it is told where it lies itself.
        llama = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
        encoders["wordllama (256)"] = lambda texts: torch.from_numpy(llama.embed(texts, norm=True)).float()
    except ImportError:
        print("wordllama is not installed: left out.")
    print(f"{len(unseen)} unseen words\n")
    print("| Encoder | Unseen word, top-1 | top-5 | Word order | texts/s |\n|---|---|---|---|---|")
    for name, encode in encoders.items():
        top1, top5 = unseen_words(encode, names, unseen)
        print(f"| {name} | {top1:.0%} | {top5:.0%} | {word_order(encode):.2f} | {speed(encode, names):.0f} |")


if __name__ == "__main__":
    main()
