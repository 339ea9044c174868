#!/bin/sh
# Installs outside harnesses for tests/e2e, each into an environment of its own: install.sh [NAME ...], default all.
# They need packages of other versions than advsim pins, so they never go into .venv.
set -eu
cd "$(dirname "$0")/../.."
folder=${ADVSIM_HARNESSES:-.harnesses}
[ $# -gt 0 ] || set -- inspect_ai deepeval langwatch_scenario
for name in "$@"; do
    case $name in
        inspect_ai) packages="inspect-ai==0.3.285 openai==3.57.0" ;;
        deepeval) packages="deepeval==4.3.1 openai==3.57.0" ;;
        langwatch_scenario) packages="langwatch-scenario==1.6.0" ;;
        *) echo "install.sh: no harness $name; expected inspect_ai, deepeval, langwatch_scenario" >&2; exit 2 ;;
    esac
    [ -d "$folder/$name" ] || .venv/bin/python -m venv "$folder/$name"
    # shellcheck disable=SC2086  # several packages
    "$folder/$name/bin/python" -m pip install --quiet --only-binary :all: $packages
done
