"""The project's own benchmarks: build, step, delivery, ensembles, BOLD, and the same network on other simulators.

Times are ratios taken in one run on one machine; absolute times of a shared machine mean little.
"""
