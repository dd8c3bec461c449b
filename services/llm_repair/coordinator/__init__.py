"""The coordinator: accepts repairs, drives their steps, keeps the bill, and says pass or fail.

A request's way: `servicer` → `resolving` (references to digests) → `jobs` (durable row) → `reconcile` (loop) →
`plan` (which step next) → the services → `dossier` (what the report is told) → report and publish.
"""
