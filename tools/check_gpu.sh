#!/usr/bin/env bash
# Run all checks that need a GPU, on a machine with a GPU, CuPy and a compiler.  No package index is needed.
#
#     tools/check_gpu.sh [FOLDER/] [STEP ...]
#
# Steps: build, contract, device, torch, sanitize, memcheck, racecheck, initcheck, synccheck, quick, bench.  Without
# arguments, all steps run except quick, which is a part of bench.  The output of a step also goes to a file in FOLDER
# (build/gpu).  Each step has a time limit.  After a failed step the next one still runs; the last lines list the failed
# steps.  If nothing is built yet, build runs first, so short sessions can each run a few steps on a fresh machine.
set -uo pipefail

known=" build contract device torch sanitize memcheck racecheck initcheck synccheck quick bench "
folder=
if [[ ${1-} == */* ]]; then
    mkdir -p "$1" || exit 2
    folder=$(cd "$1" && pwd) || exit 2 # absolute, since the script changes to the project's root below
    shift
fi
for name in "$@"; do
    [[ $known == *" $name "* ]] || { echo "no such step: $name; steps are$known" >&2 && exit 2; }
done
cd "$(dirname "$0")/.." || exit 2
folder=${folder:-$PWD/build/gpu}
mkdir -p "$folder" || exit 2
site=$PWD/build/site
python=${PYTHON:-python3}
steps=("$@")
[ $# -gt 0 ] || steps=(build contract device torch sanitize memcheck racecheck initcheck synccheck bench)
[ -d "$site" ] || [[ " ${steps[*]} " == *" build "* ]] || steps=(build "${steps[@]}")
results=()
failed=0

# Import the installed package: with PYTHONSAFEPATH, pytest does not search the working directory; nor does a script.
export PYTHONPATH=$site PYTHONUNBUFFERED=1 CUPY_CACHE_DIR=$PWD/build/cupy
# Load no pytest plugins of the machine: some of them warn, and a warning is an error here.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 UNPOOL_REQUIRE=cpu,cuda,hypothesis,torch
# CUDA's tools, if they are not on PATH already.
export PATH=$PATH:/usr/local/cuda/bin

step() { # step SECONDS COMMAND...; $name is the name of the step
    local seconds=$1 start=$SECONDS status
    shift
    echo "== $name"
    timeout --kill-after 10 "$seconds" "$@" 2>&1 | tee "$folder/$name.txt"
    status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || failed=1
    case $status in
    0) status=passed ;;
    124 | 137) status="stopped at its limit of $seconds s" ;;
    *) status="failed with $status" ;;
    esac
    results+=("$name: $status, $((SECONDS - start)) s")
    echo "== ${results[-1]}"
}

build() {
    # `pip install --target` does not replace an earlier build.
    rm -rf "$site"
    step 300 "$python" -m pip install --no-index --no-build-isolation --no-deps --no-cache-dir \
        --disable-pip-version-check --root-user-action ignore --target "$site" .
}

tests() { # tests SECONDS [ARGUMENT...]
    local seconds=$1
    shift
    step "$seconds" env PYTHONSAFEPATH=1 "$python" -m pytest -q -p no:cacheprovider --durations 10 "$@"
}

contract() { # in several processes, if xdist is installed: compiling kernels and the oracle take most of the time
    local many=()
    "$python" -c "import xdist" 2>/dev/null && many=(-p xdist.plugin -n $(($(nproc) < 12 ? $(nproc) : 12)))
    tests 480 ${many[@]+"${many[@]}"} --every --arrays cuda --pyargs unpool.testing.contract tests/cuda \
        --ignore tests/cuda/test_device.py --ignore tests/cuda/test_compile.py --ignore-glob 'tests/cuda/test_stand_in_*'
}

sanitizer() { # sanitizer [OPTION...]
    step 200 compute-sanitizer --tool "$name" --error-exitcode 1 --print-limit 20 "$@" "$python" tools/sanitize.py
}

benchmark() { # benchmark SECONDS [OPTION...]
    local seconds=$1
    shift
    rm -f "$folder/$name.json" # gpu.py does not overwrite a file
    step "$seconds" "$python" benchmarks/gpu.py --json "$folder/$name.json" "$@"
}

nvidia-smi || echo "nvidia-smi does not run: is there a GPU?"
for name in "${steps[@]}"; do
    case $name in
    build) build ;;
    contract) contract ;;
    device) tests 400 tests/cuda/test_device.py ;;
    torch) tests 200 tests/torch/test_device.py ;;
    sanitize) step 200 "$python" tools/sanitize.py ;; # without compute-sanitizer: checks results, compiles kernels
    memcheck) sanitizer --padding 256 ;;              # so that no array begins where another one ends
    quick) benchmark 240 --quick ;;
    bench) benchmark 560 ;;
    *) sanitizer ;;
    esac
done

printf '%s\n' "" "${results[@]}"
exit "$failed"
