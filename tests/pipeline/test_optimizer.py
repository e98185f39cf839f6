"""Adam without the compiler's wrappers is torch's Adam, to the bit."""

from __future__ import annotations

import copy
import subprocess
import sys

import torch

from gen3d.pipeline.optimizer import Adam


def groups() -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((40, 3), (7,)))
    return [{"params": [first], "lr": 1e-2, "name": "first"}, {"params": [second], "lr": 3e-3}]


def train(optimizer: torch.optim.Optimizer, steps: int) -> list[torch.Tensor]:
    """Some steps towards a curved target; returns copies of the parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for step in range(steps):
        loss = torch.stack([(parameter.sin() - 0.1 * step).square().sum() for parameter in parameters]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.param_groups[0]["lr"] *= 0.9
        optimizer.step()
    return [parameter.detach().clone() for parameter in parameters]


def test_steps_are_those_of_torch_to_the_bit() -> None:
    ours, theirs = Adam(groups(), betas=(0.9, 0.99)), torch.optim.Adam(groups(), betas=(0.9, 0.99))
    assert all(torch.equal(*pair) for pair in zip(train(ours, 5), train(theirs, 5), strict=True))
    assert isinstance(ours, torch.optim.Adam)
    assert not torch.equal(train(ours, 1)[0], train(ours, 1)[0])


def test_states_go_from_one_to_the_other() -> None:
    ours, theirs = Adam(groups()), torch.optim.Adam(groups())
    before = train(theirs, 3)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))  # the averages are not to be shared
    for parameter, value in zip((group["params"][0] for group in ours.param_groups), before, strict=True):
        parameter.data.copy_(value)
    assert all(torch.equal(*pair) for pair in zip(train(ours, 2), train(theirs, 2), strict=True))
    assert set(ours.state_dict()) == {"state", "param_groups"}


def test_no_step_imports_the_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from gen3d.pipeline.optimizer import Adam\n"
        "weight = torch.nn.Parameter(torch.ones(3))\n"
        "optimizer = Adam([weight])\n"
        "optimizer.zero_grad()\n"
        "weight.sum().backward()\n"
        "optimizer.step()\n"
        "optimizer.load_state_dict(optimizer.state_dict())\n"
        "print(float(weight.sum()) < 3, 'torch._dynamo' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["True", "False"]
