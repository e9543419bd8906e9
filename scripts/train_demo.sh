#!/usr/bin/env bash
# Trains the demo models again: demo/*.onnx, demo/spec.toml (thresholds) and demo/score.json are rewritten.
# torch lives in .venv-train alone; the device never sees it.
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=.venv-train
if [ ! -e "$VENV/stamp" ] || [ setup.cfg -nt "$VENV/stamp" ]; then
    .venv/bin/python -m venv "$VENV"
    "$VENV/bin/python" -m pip install -qq --disable-pip-version-check -e . 'torch==2.13.0'
    touch "$VENV/stamp"
fi
exec nice -n 10 "$VENV/bin/python" -m demo.train "$@"
