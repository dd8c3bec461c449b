#!/usr/bin/env bash
# Runs `llm-repair gate` for the Action: options from the environment, verdict and exit code as outputs.
set -euo pipefail

# With `=`, a value that begins with a dash stays a value.
options=("--on-inconclusive=${GATE_ON_INCONCLUSIVE:-fail}" "--markdown=${GITHUB_STEP_SUMMARY:-/dev/null}" --json)
[[ -z "${GATE_POLICY:-}" ]] || options+=("--policy=$GATE_POLICY")
[[ -z "${GATE_CA_FILE:-}" ]] || options+=("--ca-file=$GATE_CA_FILE")
[[ "${GATE_WAIT:-false}" != true ]] || options+=(--wait)

code=0
result="$(llm-repair gate "${options[@]}" -- "$GATE_REPAIR")" || code=$?
printf '%s\n' "$result"

verdict=""
if [[ -n "$result" ]]; then
  verdict="$(python3 -c 'import json, sys; print(json.load(sys.stdin)["verdict"])' <<<"$result")"
fi
printf 'verdict=%s\nexit-code=%s\n' "$verdict" "$code" >>"${GITHUB_OUTPUT:-/dev/null}"
exit "$code"
