"""The pure domain: steps, jobs, budgets, statistics and the gate.

Standard library, numpy and canonical JSON only: no grpc, torch, files, network or clock. All of it can be tested
with values alone, and every service may import it.
"""
