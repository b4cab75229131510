"""A faithful SAP AI Core on loopback: tokens, management plane, inference, and faults on demand.

An independent reading of the wire reference: nothing of the gateway is imported, so that a bug shared by
both would still show. Run it with `python -m perf.simulator --help`, or from a test through
`perf.simulator.launch.Simulator`.

    protocol    HTTP/1.1 on a hand-written asyncio protocol
    player      plays one answer on a connection: delays, stream ticks, cuts
    app         routes a request, in the order in which AI Core refuses
    tenants     sub-accounts, their deployments and service keys
    tokens      OAuth, and the check of every bearer
    management  deployments, configurations, scenarios, quota
    executables one module per kind of deployment
    faults      what can go wrong, and where it is asked for
    admin       /_sim/: statistics, faults, revocation
    launch      the real process as a context manager
"""
