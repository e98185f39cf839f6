"""Kernels in Triton, which comes with PyTorch's Linux wheels: NVIDIA GPUs compute by them with nothing to build."""
