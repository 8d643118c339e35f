"""The fault matrix: every point x every fault x every pair of source and transfer, each cell run for real."""
