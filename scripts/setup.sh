#!/usr/bin/env bash
# Set-up of a checkout on Debian 12 or 13. Called by the Makefile: `setup.sh system`, `setup.sh venv`.
# Nothing is written outside .venv/ and build/, apart from Debian packages when root or password-less sudo allows.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
# A hawkBit DDI server for the tests, Apache-2, in a place of its own: it brings a web framework and telemetry.
PEERS=.venv-peers
HAWKBIT=goosebit==0.2.12
TENSORRT_STUBS=tensorrt-stubs==10.13.0.35.1
# package : how its presence is seen
NEEDED=(gcc make pkg-config libc6-dev libsystemd-dev)
FOR_TESTS=(mbpoll libmodbus-dev strace swtpm swtpm-tools libtss2-dev softhsm2)

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

# Print the first Python 3.11 to 3.13 on PATH. A version manager's shim may exist and still not run.
find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "no Python 3.11, 3.12 or 3.13 on PATH; install one, for example: apt-get install python3"
}

missing_packages() {
    local python=$1 package
    for package in "${NEEDED[@]}" "${FOR_TESTS[@]}"; do
        installed "$package" || echo "$package"
    done
    "$python" -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
    "$python" -c 'import os, sysconfig, sys
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || echo python3-dev
}

apt_install() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    say "installing Debian packages: $*"
    "${as_root[@]}" apt-get -q -o DPkg::Lock::Timeout=300 update >/dev/null || return 1
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" >/dev/null
}

only_for_tests() {
    local package
    for package in "$@"; do
        [[ " ${FOR_TESTS[*]} " == *" $package "* ]] || return 1
    done
}

system() {
    local python missing
    python=$(find_python)
    if ! command -v dpkg-query >/dev/null; then
        say "not a Debian system: gcc, make, pkg-config and the libsystemd headers must be there already"
        return
    fi
    mapfile -t missing < <(missing_packages "$python")
    [ ${#missing[@]} -eq 0 ] && return
    apt_install "${missing[@]}" && return
    if only_for_tests "${missing[@]}"; then
        say "not installed, some tests will be skipped: apt-get install ${missing[*]}"
        return
    fi
    fail "missing Debian packages and no root; let an administrator run: apt-get install ${missing[*]}"
}

retry() {
    local try
    for try in 1 2 3; do
        "$@" && return
        say "try $try of 3 failed: $*"
        sleep $((try * 3))
    done
    return 1
}

venv() {
    local python
    python=$(find_python)
    if ! "$VENV/bin/python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        say "creating $VENV with $("$python" --version)"
        rm -rf "$VENV"
        "$python" -m venv "$VENV" || fail "$python -m venv failed; install python3-venv"
    fi
    say "installing the Python packages of setup.cfg into $VENV (once; a minute or two)"
    retry "$VENV/bin/python" -m pip install -qq --disable-pip-version-check 'setuptools>=77' wheel ||
        fail "pip could not install setuptools; is the package index reachable?"
    retry "$VENV/bin/python" -m pip install -qq --disable-pip-version-check -e '.[test]' ||
        fail "pip could not install linewarden; the lines above say why"
    ln -sfn ../../scripts/linewarden-fleet "$VENV/bin/linewarden-fleet"
    tpm
    stubs
    peers "$python"
}

# Types of TensorRT 10 to check our use of it against; their package asks for wheels that only NVIDIA's index has.
stubs() {
    [ -d build/stubs ] || retry "$VENV/bin/python" -m pip install -qq --disable-pip-version-check --no-deps \
        --target build/stubs "$TENSORRT_STUBS" ||
        say "pip could not install $TENSORRT_STUBS, its test will be skipped; the lines above say why"
}

# What the tests talk to and nothing of ours imports.
peers() {
    "$PEERS/bin/python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null ||
        { rm -rf "$PEERS"; "$1" -m venv "$PEERS"; } || fail "$1 -m venv failed; install python3-venv"
    retry "$PEERS/bin/python" -m pip install -qq --disable-pip-version-check "$HAWKBIT" ||
        say "pip could not install $HAWKBIT, its tests will be skipped; the lines above say why"
}

# The device key in a TPM compiles against the TPM2 software stack; without it everything else works.
tpm() {
    if ! pkg-config --exists tss2-esys 2>/dev/null; then
        say "without a TPM library, its tests will be skipped: apt-get install libtss2-dev"
    elif ! retry "$VENV/bin/python" -m pip install -qq --disable-pip-version-check -e '.[tpm]'; then
        say "pip could not install tpm2-pytss, its tests will be skipped; the lines above say why"
    fi
}

case "${1:-}" in
    system) system ;;
    venv) venv ;;
    *) fail "say 'system' or 'venv'" ;;
esac
