"""The command line of velcodec: one module a command, installed as `velcodec_cli`."""
