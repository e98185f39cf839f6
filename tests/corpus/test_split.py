from __future__ import annotations

from gen3d.corpus.split import is_held_out

IDS = [f"Library/object{index}" for index in range(4000)]


def test_known_identifiers_stay_on_their_side() -> None:
    # A change here would move objects between training and evaluation.
    assert is_held_out("BlendSwap-CC-0/Blend Swap CC-0#doubleOven")
    assert is_held_out("Scopia/Scopia#doll-house")
    assert not is_held_out("BlendSwap-CC-0/Blend Swap CC-0#armchair")


def test_the_fraction_is_about_kept() -> None:
    assert 0.045 < sum(map(is_held_out, IDS)) / len(IDS) < 0.075
    assert not any(is_held_out(name, 0.0) for name in IDS)
    assert all(is_held_out(name, 1.0) for name in IDS)


def test_a_larger_fraction_is_a_superset() -> None:
    assert {name for name in IDS if is_held_out(name, 0.06)} < {name for name in IDS if is_held_out(name, 0.2)}
