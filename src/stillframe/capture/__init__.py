"""The heart: which source and which transfer, the steps of a capture, and what must be given back after it."""
