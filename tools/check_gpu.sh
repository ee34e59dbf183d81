#!/usr/bin/env bash
# All that wants a GPU, for a machine that has one, CuPy and a compiler, and no package index:
#
#     tools/check_gpu.sh [FOLDER [STEP ...]]
#
# Steps: build, contract, device, memcheck, racecheck, initcheck, synccheck, bench; without any, all of them.  What they
# print goes to FOLDER (build/gpu), too; each has a limit of its own, a step that fails does not keep the next from
# running, and any that failed is named at the end.  A session of short calls does some steps in each.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

folder=${1:-build/gpu}
[ $# -eq 0 ] || shift
steps=("$@")
[ $# -gt 0 ] || steps=(build contract device memcheck racecheck initcheck synccheck bench)
mkdir -p "$folder" || exit 1
site=$PWD/build/site
python=${PYTHON:-python3}
failed=()

# The package as it is installed.
export PYTHONPATH=$site PYTHONUNBUFFERED=1 CUPY_CACHE_DIR=$PWD/build/cupy UNPOOL_REQUIRE=cpu,cuda

step() { # step NAME SECONDS COMMAND...
    local name=$1 seconds=$2 start=$SECONDS
    shift 2
    echo "== $name"
    timeout "$seconds" "$@" 2>&1 | tee "$folder/$name.txt"
    local status=${PIPESTATUS[0]}
    echo "== $name: exit $status after $((SECONDS - start)) s"
    [ "$status" -eq 0 ] || failed+=("$name")
}

sanitizer() { # sanitizer TOOL SECONDS [OPTION...]
    local tool=$1 seconds=$2
    shift 2
    step "$tool" "$seconds" compute-sanitizer --tool "$tool" --error-exitcode 1 "$@" "$python" tools/sanitize.py
}

tests() { # tests SECONDS [ARGUMENT...]; the working directory stays off the path
    local seconds=$1
    shift
    step "$name" "$seconds" env PYTHONSAFEPATH=1 "$python" -m pytest -q -p no:cacheprovider "$@"
}

for name in "${steps[@]}"; do
    case $name in
    build) step build 300 "$python" -m pip install --quiet --no-index --no-build-isolation --no-deps --upgrade \
        --target "$site" . ;;
    contract) tests 420 -k cuda --ignore tests/test_cuda_device.py --ignore tests/test_cuda_compile.py ;;
    device) tests 300 tests/test_cuda_device.py ;;
    memcheck) sanitizer memcheck 300 --leak-check no ;;
    racecheck) sanitizer racecheck 300 ;;
    initcheck) sanitizer initcheck 300 ;;
    synccheck) sanitizer synccheck 300 ;;
    bench) step bench 420 "$python" benchmarks/gpu.py --markdown --json "$folder/gpu.json" ;;
    *)
        echo "no such step: $name" >&2
        failed+=("$name")
        ;;
    esac
done

if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}"
    exit 1
fi
echo "passed: ${steps[*]}"
