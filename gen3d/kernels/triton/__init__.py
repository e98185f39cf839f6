"""Kernels in Triton, which comes with PyTorch for Linux: a GPU renders by them with nothing to compile or to install.

Nothing is imported here: Triton takes a while to start, and is not to be had on every system.
"""
