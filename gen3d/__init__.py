"""gen3d turns a sentence into a 3D asset by optimising a differentiable representation."""

__version__ = "0.1.0"
