#!/usr/bin/env bash
# What a machine with a GPU is for, in one command that goes on where it stopped: what the machine is, the GPU's own tests,
# tuning, and the comparison with the libraries that are installed. Results, logs and the database go to a folder.
#   bench/campaign.sh MINUTES FOLDER [WORKLOAD...]      default: prefill train decode serving
# GRID names the comparison's grid (see python -m bench.compare --help), PYTHON the interpreter.
set -u
minutes=${1:?whole minutes, e.g. 25} out=${2:?a folder for the results}
shift 2
workloads=("$@")
(($#)) || workloads=(prefill train decode serving)
python=${PYTHON:-python}
mkdir -p "$out"
end=$((SECONDS + minutes * 60))

left() { echo $((end - SECONDS)); }

"$python" -m gdn_ops.tuner.cli doctor >"$out/doctor.txt" 2>&1
command -v nvidia-smi >/dev/null && nvidia-smi -q >"$out/nvidia-smi.txt"

if [[ ! -e $out/tests.passed ]]; then
  # a third of the time at most: wrong kernels are no candidates anyway, for tuning checks each one
  TRITON_INTERPRET=0 timeout $(($(left) / 3)) "$python" -m pytest tests/gpu -q -p no:cacheprovider >"$out/tests.log" 2>&1 &&
    touch "$out/tests.passed"
  tail -n 3 "$out/tests.log"
fi

reserve=$((minutes * 12)) # a fifth of the time is for the comparison
for i in "${!workloads[@]}"; do
  share=$((($(left) - reserve) / (${#workloads[@]} - i)))
  ((share < 20)) && { echo "no time is left for ${workloads[*]:i}; run this again"; break; }
  "$python" -m gdn_ops.tuner.cli tune "${workloads[i]}" --db "$out/results.db" \
    --minutes "$(awk "BEGIN { print $share / 60 }")" 2>&1 | tee -a "$out/tune.log" | grep -E "winner:|left:" || true
done
"$python" -m gdn_ops.tuner.cli show --db "$out/results.db" | tee "$out/winners.txt"

GDN_RESULTS_DB=$out/results.db "$python" -m bench.compare "${GRID:-short}" --out "$out" --seconds 1 \
  --minutes "$(awk "BEGIN { print $(left) / 60 }")" 2>&1 | tee -a "$out/compare.log"
