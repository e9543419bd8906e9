#!/usr/bin/env bash
# The whole path of docs/operations/fit-anomaly.md in var/anomaly: render good vials, fit, sign with the development keys, run the line.
# UNITS good vials (200); further arguments go to `linewarden sim`.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=var/anomaly KEYS=$PWD/var/demo/trust/private
rm -rf "$OUT" && mkdir -p "$OUT"
.venv/bin/python -m demo.good_vials "$OUT/good" --units "${UNITS:-200}"
.venv/bin/linewarden model fit-anomaly --good "$OUT/good" --out "$OUT/fit" --name demo-anomaly --roi body=400,0,480,1024 \
    --product "demo vial 2R, 13 mm crimp" --container "2R vial" --owner "Anna Berg"
.venv/bin/linewarden-fleet init "$OUT/fleet" --name Trial --yes \
    --person "Anna Berg,qa,file:$KEYS/qa.pem" --person "Jonas Weber,release,file:$KEYS/release.pem"
for person in "Anna Berg,qa" "Jonas Weber,release"; do
    .venv/bin/linewarden-fleet sign "$OUT/fit/bundle" "$OUT/fit/recipe" --fleet "$OUT/fleet" --yes \
        --role "${person#*,}" --as "${person%,*}" --reason "fitted here, for a look"
done
exec .venv/bin/linewarden sim --bundle "$OUT/fit/bundle" "$@"
