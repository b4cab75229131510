"""Pure protocol translation: no I/O, no clock, no logging, no configuration.

`translate` joins a caller (`callers`) and an upstream (`upstreams`) by the pivot (`conversation`, `events`),
or lets requests pass where both speak one dialect (`through`). `embeddings` has a way of its own.
`capabilities` knows what each model accepts, `frames` cuts bytes into server-sent events.
"""
