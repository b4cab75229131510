"""The scoreboard under faults: `python -m perf.faults --help`.

Sixteen faults of a model provider, after Failover Bench, played by an upstream on raw sockets to the real
gateway, and what callers of each surface get. scenarios → upstream (provoke, forms) → stand → board → judge.
"""
