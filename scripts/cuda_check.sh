#!/usr/bin/env bash
# Every check and measurement that needs a CUDA device, in about twelve minutes, of which a peer that tunes itself
# may take five: the tests on the device, the sanitizer, the step against a peer, the roofline, and 100 epochs of the
# reference model's recipe.
#
#   scripts/cuda_check.sh [--vitx FILE] [--tests FILE] [--data-dir DIR] [--peer COMMAND] [--output DIR]
#
#   --vitx FILE      the binary (cargo build --release; default target/release/vitx, built if cargo is here)
#   --tests FILE     the library's test binary (cargo test --lib --no-run; built if cargo is here)
#   --data-dir DIR   holds cifar-100-binary/ or cifar-100-python/; without it nothing is trained
#   --peer COMMAND   prints a line to compare with, for example
#                    'python3 torch_vit.py --batch 256 --steps 50 --warmup 10 --device cuda --bf16 --cudagraphs'
#   --output DIR     for logs and the trained run (default cuda-check)
#
# Both binaries can be built elsewhere and carried over, with this folder. The exit code is 0 if every check passed;
# measurements are only printed.
set -uo pipefail

vitx=target/release/vitx tests='' data='' peer='' output=cuda-check
while [ $# -gt 0 ]; do
    case "$1" in
        --vitx) vitx=$(realpath "$2") ;;
        --tests) tests=$(realpath "$2") ;;
        --data-dir) data=$(realpath "$2") ;;
        --peer) peer=$2 ;;
        --output) output=$(realpath -m "$2") ;;
        *) sed -n '2,/^set/p' "$0" | sed '$d' >&2; exit 2 ;;
    esac
    shift 2
done
cd "$(dirname "$0")/.."
mkdir -p "$output"
failed=0

say() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

# Runs a check under a limit in seconds; the last lines are shown.
check() {
    local name=$1 limit=$2 log
    shift 2
    log="$output/$(echo "$name" | tr ' ' '-').log"
    say "$name"
    if timeout -k 5 "$limit" "$@" >"$log" 2>&1; then
        tail -n 4 "$log"
    else
        echo "FAILED ($?), see $log"
        tail -n 25 "$log"
        failed=1
    fi
}

# Runs a measurement under a limit; it cannot fail the script.
measure() {
    local name=$1 limit=$2
    shift 2
    say "$name"
    timeout -k 5 "$limit" "$@" 2>&1 | tee "$output/$(echo "$name" | tr ' ' '-').log" || echo "no measurement ($?)"
}

# NVIDIA's Python packages, PyTorch's among them, keep their libraries where no loader looks.
packages=$(python3 - 2>/dev/null <<'PYTHON'
import glob, site, sys
roots = site.getsitepackages() + [site.getusersitepackages()] + sys.path
print(":".join(sorted({folder for root in roots for folder in glob.glob(root + "/nvidia/*/lib")})))
PYTHON
)
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}${LD_LIBRARY_PATH:+:}$packages"

if command -v cargo >/dev/null; then
    [ -x "$vitx" ] || cargo build --release || exit 1
    if [ -z "$tests" ]; then
        tests=$(cargo test --lib --no-run --message-format=json 2>/dev/null |
            sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    fi
fi
SECONDS=0
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader || true

# Tests: Keras' fixtures, every operator at f32 and bf16 on odd shapes, determinism, bad losses, kept images.
if [ -n "$tests" ]; then
    check 'tests on the device' 180 "$tests" backend::cuda::tests::on_a_device --ignored --test-threads 1
    check 'kernels on the device' 180 env VITX_KERNEL_TESTS=device "$tests" backend::cuda::kernels --test-threads 1
else
    echo 'no test binary: give --tests'
    failed=1
fi

# A small training under the sanitizer, which slows it a hundredfold: images, both directions, update, evaluation.
small=(run experiments/digits_vit.yaml --backend cuda --param depth=1 --set train.epochs=1 --set data.train_limit=40
    --set data.test_limit=8 --set train.batch_size=16)
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null || true)
if [ -n "$sanitizer" ]; then
    # Once without it, so that the algorithms of products are chosen: under it that takes minutes.
    rm -rf "$output/plain"
    check 'small training' 20 "$vitx" "${small[@]}" --output "$output/plain"
    for tool in memcheck racecheck; do
        rm -rf "$output/$tool"
        check "sanitizer $tool" 40 "$sanitizer" --tool "$tool" --error-exitcode 1 \
            "$vitx" "${small[@]}" --output "$output/$tool"
    done
else
    echo 'compute-sanitizer is not here: skipped'
fi

# Same seed, same bits, twice from nothing.
same() {
    local one="$output/one" two="$output/two"
    rm -rf "$one" "$two"
    for folder in "$one" "$two"; do
        "$vitx" run experiments/digits_vit.yaml --backend cuda --set train.epochs=3 --output "$folder" || return 1
    done
    cmp "$one/best.safetensors" "$two/best.safetensors"
}
export -f same
export vitx output
check 'same seed same bits' 30 bash -c same

# Measurements: the step, its profile, other precisions, and the peer in the same run, ours before and after it.
step=(bench step experiments/cifar100_vit.yaml --backend cuda --batch 256 --steps 50)
measure 'step bf16' 20 "$vitx" "${step[@]}" --precision bf16
[ -z "$peer" ] || measure 'peer' 330 bash -c "$peer"
measure 'step bf16 again' 20 "$vitx" "${step[@]}" --precision bf16 --json
measure 'step tf32' 20 "$vitx" "${step[@]}" --precision tf32
measure 'step f32' 20 "$vitx" "${step[@]}" --precision f32
measure 'step profile' 20 "$vitx" "${step[@]}" --precision bf16 --profile
# Networks with convolutions, and where their time goes.
for recipe in 'hybrid_100 512' 'speed 1024' 'cct_300 256'; do
    set -- $recipe
    step=(bench step "experiments/recipes/cifar100_$1.yaml" --backend cuda --batch "$2" --steps 20 --precision bf16)
    measure "step $1" 30 "$vitx" "${step[@]}"
    measure "step $1 profile" 30 "$vitx" "${step[@]}" --profile
done

# The roofline: for every call the larger of its bytes by the bandwidth and its operations by the peak.
say 'roofline'
"$vitx" graph experiments/cifar100_vit.vitx --stage program --backend cuda --batch 256 --format json \
    >"$output/program.json"
python3 scripts/roofline.py "$output/program.json" | tee "$output/roofline.log" || echo 'no roofline'

# 70% in seven epochs, and the reference model's recipe: about 10 and 95 s on an H200.
if [ -n "$data" ]; then
    rm -rf "$output/speed"
    check 'seven epochs' 60 "$vitx" run experiments/recipes/cifar100_speed.yaml --backend cuda --data-dir "$data" \
        --output "$output/speed"
    rest=$((SECONDS < 580 ? 710 - SECONDS : 130))
    rm -rf "$output/cifar100"
    check '100 epochs' "$rest" "$vitx" run experiments/cifar100_vit.yaml --backend cuda --data-dir "$data" \
        --output "$output/cifar100"
fi

say 'done'
[ "$failed" = 0 ] && echo 'every check passed' || echo 'SOME CHECKS FAILED'
exit "$failed"
