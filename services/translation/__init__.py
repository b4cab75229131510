"""Pure protocol translation: no I/O, no clock, no logging, no configuration.

`frames` cuts bytes into server-sent events; `capabilities` knows what each model accepts; `chat` and
`embeddings` speak OpenAI's dialect on both sides.
"""
