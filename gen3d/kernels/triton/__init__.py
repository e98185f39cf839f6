"""Kernels in Triton, which comes with PyTorch for Linux: a GPU renders by them with nothing to compile or to install.

Triton compiles a kernel anew for sizes that are 1 or multiples of 16. Those that change from step to step are kept from
this by `do_not_specialize`: a run would stop for seconds whenever the number of its Gaussians or triangles is one.

Nothing is imported here: Triton takes a while to start, and is not to be had on every system.
"""
