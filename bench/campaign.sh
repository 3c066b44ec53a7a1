#!/usr/bin/env bash
# bench/campaign.sh MINUTES FOLDER [GRID...]: see --help. PYTHON names the interpreter.
root=$(cd "$(dirname "$0")/.." && pwd)
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "${PYTHON:-python}" -m bench.campaign "$@"
