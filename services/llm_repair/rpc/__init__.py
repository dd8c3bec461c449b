"""The gRPC adapter every service shares: server, interceptors, errors, executions and worker processes.

Domain code never imports this package's gRPC parts; it raises domain errors and returns domain values.
"""
