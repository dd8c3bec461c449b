"""The pure domain: steps, jobs, budgets, statistics and the gate.

Standard library and numpy only: no grpc, torch, files, network or clock. Everything here can be tested
with values alone, and every service may import it.
"""
