"""The representation in the making, and what ties it to the shape prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gen3d.config.schema import RunConfig
from gen3d.priors.shape_prior import ShapePrior
from gen3d.representations.contract import Representation
from gen3d.representations.table import rebuild


@dataclass
class Scene:
    """What the stages of a run hand on.

    code [1, K]: what the prior is taken to see in the scene. offset [1, K]: the code minus the encoding of the scene,
    so that what the linear encoder misses is not mistaken for an error of the scene. Both are None where the run does
    not ask the prior. sampled: the code is one of the prior's own. tied: the scene looks like the field that the code
    decodes to.
    """

    representation: Representation
    code: Tensor | None = None
    offset: Tensor | None = None
    sampled: bool = False
    tied: bool = False

    def ask_prior(self, prior: ShapePrior) -> None:
        """Takes for the code of a scene that did not come from the prior what the encoder makes of it."""
        if self.code is None:
            self.code = encoded(prior, self.representation)
            self.offset = torch.zeros_like(self.code)
            self.tied = True

    def state_dict(self) -> dict[str, Any]:
        """Nested plain data from which `from_state` makes an equal scene."""
        return {
            "representation": self.representation.state(),
            "code": self.code,
            "offset": self.offset,
            "sampled": self.sampled,
            "tied": self.tied,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], config: RunConfig, generator: torch.Generator) -> Scene:
        """The scene that `state_dict` described, for a stage of the same configuration."""
        representation = rebuild(state["representation"], config, generator)
        return cls(representation, state["code"], state["offset"], state["sampled"], state["tied"])


@torch.no_grad()
def encoded(prior: ShapePrior, representation: Representation) -> Tensor:
    """The code [1, K] that the shape prior's linear encoder makes of a scene's surface."""
    return torch.cat(prior.code(representation.surface_cloud()), 1)
