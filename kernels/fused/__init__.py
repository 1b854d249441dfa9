"""Our own Triton kernels, each beside the definition of the same name in `kernels`. Importing them imports triton."""
