"""The pretended devices compute what the CPU does, and refuse what CUDA refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tests.pretended_device import PretendedCuda, PretendedTensor


@pytest.fixture(autouse=True)
def _on_pretended_cuda(pretended_cuda: None) -> None:
    """Every test here runs on it."""


def numbers(*shape: int, device: str = "cuda:0") -> Tensor:
    values = torch.arange(float(np.prod(shape)), device=device).view(*shape)
    assert values.device == torch.device(device)
    return values


class Small(torch.nn.Module):
    """One buffer, one parameter, and a tensor that `.to` does not know."""

    offset: Tensor

    def __init__(self, registered: bool = True) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((3,), 2.0))
        if registered:
            self.register_buffer("offset", torch.ones(3))
        else:
            self.offset = torch.ones(3)

    def forward(self, values: Tensor) -> Tensor:
        return values * self.weight + self.offset


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_values_come_and_go(device: str) -> None:
    for there in (
        torch.arange(3.0).to(device),
        torch.tensor([0.0, 1.0, 2.0], device=device),
        numbers(3, device=device),
    ):
        assert isinstance(there, PretendedTensor)
        assert (str(there.device), there.is_cuda, there.is_cpu) == (device, True, False)
        back = there.cpu()
        assert type(back) is Tensor
        assert back.tolist() == there.tolist() == [0, 1, 2]
        assert torch.zeros(2).to(there).device == there.device
        assert there.new_tensor([5.0]).tolist() == [5]
        assert there.new_zeros(2).device == torch.zeros_like(there).device == there.device
        assert (float(there[2]), int(there[1]), f"{there[2]:.1f}", bool((there > 0).any())) == (2, 1, "2.0", True)


def test_a_device_without_a_number_is_the_first() -> None:
    made = [torch.zeros(1, device="cuda"), torch.zeros(1).to("cuda"), torch.zeros(1).cuda(), Small().to("cuda").weight]
    assert [str(tensor.device) for tensor in made] == ["cuda:0"] * 4
    assert str(torch.zeros(1).cuda(1).device) == "cuda:1"
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.zeros(1, device="cuda:2")


def test_to_where_it_is_makes_no_copy() -> None:
    there = numbers(3)
    assert there.to("cuda:0") is there.to("cuda") is there.to(there) is there.to(torch.float32) is there
    assert there.to("cuda:1") is not there
    assert there.to(torch.float64).dtype == torch.float64


MIXTURES: dict[str, Callable[[Tensor, Tensor], object]] = {
    "sum": lambda there, here: there + here,
    "matrix product": lambda there, here: there @ here.T,
    "concatenation": lambda there, here: torch.cat([there, here]),
    "stack of scalars": lambda there, here: torch.stack([there.sum(), here.sum()]),
    "in place": lambda there, here: there.add_(here),
    "values by index": lambda there, here: there.index_put_((torch.tensor([0]),), here[:1]),
    "grid_sample": lambda there, here: torch.nn.functional.grid_sample(
        there[None, None], here[None, :, None, :2], align_corners=False
    ),
    "linear": lambda there, here: torch.nn.functional.linear(there, here),
    "where": lambda there, here: torch.where(there > 1, there, here),
    "searchsorted": lambda there, here: torch.searchsorted(there[0], here[0]),
    "out": lambda there, here: torch.add(there, 1, out=here),
}


@pytest.mark.parametrize("mix", MIXTURES.values(), ids=MIXTURES)
def test_mixtures_are_refused_in_both_directions(mix: Callable[[Tensor, Tensor], object]) -> None:
    there, here, other = numbers(2, 3), torch.ones(2, 3), numbers(2, 3, device="cuda:1")
    for first, second in ((there, here), (here, there), (there, other), (other, there)):
        with pytest.raises(RuntimeError, match="same device"):
            mix(first, second)
    mix(there, numbers(2, 3))


def test_indices_may_come_from_the_cpu_but_not_the_other_way() -> None:
    there, here = numbers(4), torch.arange(4.0)
    assert there[torch.tensor([1, 2])].tolist() == [1, 2]
    assert there[[3, 1]].tolist() == [3, 1]
    assert there.view(2, 2)[:, [1]].tolist() == [[1], [3]]
    assert there[here > 2].device.type == "cuda"
    there[torch.tensor([0])] = torch.tensor(7.0)
    assert there[0] == 7
    for index in (torch.tensor([1]).to("cuda:0"), there > 1):
        with pytest.raises(RuntimeError, match="same device"):
            here[index]
        with pytest.raises(RuntimeError, match="same device"):
            here[index] = 1.0
    with pytest.raises(RuntimeError, match="same device"):
        there.index_add(0, torch.tensor([0]), there[:1])  # only square brackets take indices from elsewhere


def test_scalars_of_the_cpu_may_take_part() -> None:
    there, scalar = numbers(3), torch.tensor(2.0)
    assert (there * scalar).tolist() == (scalar * there).tolist() == [0, 2, 4]
    assert torch.where(there > 0, scalar, there).tolist() == [0, 2, 2]
    assert there.masked_fill(there > 0, scalar).tolist() == [0, 2, 2]
    with pytest.raises(RuntimeError, match="same device"):
        torch.arange(3.0) * there[1]
    with pytest.raises(RuntimeError, match="same device"):
        scalar.add_(there[1])


def test_copies_in_place_cross_devices() -> None:
    there, here, other = numbers(3), torch.zeros(3), torch.zeros(3, device="cuda:1")
    here.copy_(there)
    other.copy_(here)
    there.zero_()
    assert (here.tolist(), other.tolist(), there.tolist()) == ([0, 1, 2], [0, 1, 2], [0, 0, 0])
    there[1:] = other[1:].to(there)
    assert there.tolist() == [0, 1, 2]


def test_views_share_memory_and_versions() -> None:
    there = numbers(2, 3)
    version = there._version
    row = there[1]
    assert row.add_(1) is row
    assert there.tolist() == [[0, 1, 2], [4, 5, 6]]
    assert there._version > version
    with pytest.raises(RuntimeError, match="in place"):
        there.t_()


def test_numpy_and_pointers_are_refused() -> None:
    there = numbers(2)
    for read in (there.numpy, lambda: np.asarray(there), lambda: np.add(there, 1)):
        with pytest.raises(TypeError, match=r"can't convert cuda:0 device type tensor to numpy"):
            read()
    with pytest.raises(RuntimeError, match="data_ptr"):
        there.data_ptr()
    assert there.cpu().numpy().tolist() == there.numpy(force=True).tolist() == [0, 1]


DRAWS: dict[str, Callable[[torch.Generator], Tensor]] = {
    "rand": lambda generator: torch.rand(3, generator=generator, device="cuda:0"),
    "randn": lambda generator: torch.randn(3, generator=generator, device="cuda"),
    "randint": lambda generator: torch.randint(5, (3,), generator=generator, device="cuda:0"),
    "randperm": lambda generator: torch.randperm(3, generator=generator, device="cuda:0"),
    "normal_": lambda generator: numbers(3).normal_(generator=generator),
    "multinomial": lambda generator: torch.multinomial(numbers(3), 1, generator=generator),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_generator_of_the_cpu_cannot_draw_for_the_device(draw: Callable[[torch.Generator], Tensor]) -> None:
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator but found 'cpu'"):
        draw(torch.Generator())


def test_draws_of_the_cpu_can_be_moved() -> None:
    first, second = (torch.rand(3, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first.to("cuda:0").cpu(), second)


def test_a_module_learns_there_as_here() -> None:
    learned = {}
    for device in ("cpu", "cuda:0", "cuda:1"):
        module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.SiLU(), torch.nn.Conv1d(1, 2, 3, padding=1))
        for parameter in module.parameters():
            parameter.data.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
        module.to(device)
        optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
        for _ in range(3):
            values = torch.linspace(0, 1, 6).view(2, 1, 3).to(device)
            drawn = checkpoint(module, values, use_reentrant=False)
            optimizer.zero_grad(set_to_none=True)
            drawn.square().mean().backward()
            optimizer.step()
        assert all(parameter.device == torch.device(device) for parameter in module.parameters())
        assert all(isinstance(parameter, torch.nn.Parameter) for parameter in module.parameters())
        learned[device] = {name: value.cpu() for name, value in module.state_dict().items()}
    for name, value in learned["cpu"].items():
        assert torch.equal(learned["cuda:0"][name], value)
        assert torch.equal(learned["cuda:1"][name], value)


def test_gradients_pass_between_devices() -> None:
    here = torch.ones(3, requires_grad=True)
    (here.to("cuda:0") * 2).to("cuda:1").square().sum().cpu().backward()
    assert here.grad is not None
    assert here.grad.tolist() == [8, 8, 8]


def test_a_module_moves_on_and_back() -> None:
    module = Small()
    for device in ("cuda:0", "cuda:1", "cpu", "cuda:1"):
        assert module.to(device)(torch.ones(3, device=device)).device == torch.device(device)
        assert module.weight.tolist() == [2, 2, 2]


def test_copies_of_modules_stay_there() -> None:
    module = Small().to("cuda:1")
    copied = copy.deepcopy(module)
    with torch.no_grad():
        module.weight.zero_()
    assert (copied.weight.device, copied.offset.device) == (torch.device("cuda:1"), torch.device("cuda:1"))
    assert isinstance(copied.weight, torch.nn.Parameter)
    assert copied.weight.tolist() == [2, 2, 2]


def test_a_tensor_that_was_not_registered_is_caught() -> None:
    assert Small().to("cuda:0")(numbers(3)).tolist() == [1, 3, 5]
    broken = Small(registered=False).to("cuda:0")
    with pytest.raises(RuntimeError, match="same device"):
        broken(numbers(3))
    with pytest.raises(RuntimeError, match="same device"):
        Small().to("cuda:0")(torch.ones(3))
    with pytest.raises(RuntimeError, match="same device"):
        Small()(numbers(3))


def test_cuda_is_as_it_was_afterwards() -> None:
    found = torch.cuda.is_available()
    with PretendedCuda():
        assert torch.cuda.is_available()
        assert torch.cuda.device_count() == 2
    assert torch.cuda.is_available() == found
