"""Scripts that run the benchmark network on other simulators, each with the Python of an environment of its own.

A script takes one JSON text (the network of :data:`twinbrain.bench.networks.COMMON`, ``neurons``, ``threads``,
``warm_up_ms``, ``measured_ms``, ``folder``) and prints one JSON line; it imports nothing of twinbrain.
"""
