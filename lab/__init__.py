"""Real guests, a real libvirtd and the service itself, for the tests, the demo and the benchmarks. Needs root."""
