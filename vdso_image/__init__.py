"""The vDSO: assembly sources, what builds the shared objects from them, and the built ones for a kernel to map."""
