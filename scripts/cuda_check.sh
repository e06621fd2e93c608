#!/usr/bin/env bash
# What only a CUDA device can show of the training step, in one call of six minutes: whether its kernels are right there,
# what regions (kernels whose tiles lie in shared memory) gain, what binds them, how the loss goes with them, how fast a
# peer is, and what packing several variants gains. Predictions stand beside what comes out.
#
#   scripts/cuda_check.sh [--parts LIST] [--seconds N] [--vitx FILE] [--tests FILE] [--data-dir DIR]
#                         [--peer COMMAND] [--peer-cache DIR] [--output DIR]
#
#   --parts LIST      of these, with commas; without it all that are not marked
#                       kernels    tests of the kernels, on the device
#                       sanitizer  memcheck and racecheck of a step on two images, with regions
#                       bits       one seed twice gives the same bits
#                       steps      the step with regions off and on, in turns
#                       precisions the step in tf32 and float32
#                       profile    where its time goes, and the least that its calls can take
#                       ncu        what binds the regions' kernels
#                       peer       the peer, in the same run
#                       curves     the loss of two seeds, with regions off and on
#                       packing    1, 2, 4 and 8 variants in one program, and whether their bits are the same
#                       tests      (only when named) all tests on the device, about six minutes
#                       networks   (only when named) steps of networks with convolutions
#                       training   (only when named, with --data-dir) seven epochs, and the reference model's 100
#   --seconds N       for all of it (360, or 1800 with parts that must be named); what does not fit is skipped
#   --vitx FILE       the binary (cargo build --release; default target/release/vitx, built if cargo is here)
#   --tests FILE      the library's test binary (cargo test --lib --no-run; built if cargo is here)
#   --data-dir DIR    holds cifar-100-binary/ or cifar-100-python/; without it curves and packing take digits
#   --peer COMMAND    prints its step in a line like "ms/step 5.39", for example
#                     'python3 torch_vit.py --batch 256 --steps 50 --warmup 10 --device cuda --bf16 --cudagraphs'
#   --peer-cache DIR  where the peer's compiler keeps what it has tuned: carried from machine to machine, it spares minutes
#   --output DIR      for logs, runs and outcomes.tsv (default cuda-check)
#
# Both binaries can be built elsewhere and carried over, with this folder. The exit code is 0 if every check passed;
# measurements are only printed. What was skipped is listed at the end, with the reason.
set -uo pipefail

usage() { sed -n '2,/^set/p' "$0" | sed '$d' >&2; exit 2; }
always='kernels sanitizer bits steps precisions profile ncu peer curves packing'
named='tests networks training'
vitx=target/release/vitx tests='' data='' peer='' peer_cache='' output=cuda-check parts='' seconds=''
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || usage
    case "$1" in
        --parts) parts=${2//,/ } ;;
        --seconds) seconds=$2 ;;
        --vitx) vitx=$(realpath "$2") ;;
        --tests) tests=$(realpath "$2") ;;
        --data-dir) data=$(realpath "$2") ;;
        --peer) peer=$2 ;;
        --peer-cache) peer_cache=$(realpath -m "$2") ;;
        --output) output=$(realpath -m "$2") ;;
        *) usage ;;
    esac
    shift 2
done
for part in $parts; do
    case " $always $named " in
        *" $part "*) ;;
        *) echo "there is no part \`$part\`; the parts are: $always $named" >&2; exit 2 ;;
    esac
done
if [ -z "$seconds" ]; then
    seconds=360
    for part in $parts; do case " $named " in *" $part "*) seconds=1800 ;; esac; done
fi
parts=${parts:-$always}
cd "$(dirname "$0")/.."
mkdir -p "$output"
failed=() skipped=()
printf 'what\toutcome\tpredicted\tverdict\n' >"$output/outcomes.tsv"

say() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }
skip() {
    echo "skipped: $1: $2"
    skipped+=("$1: $2")
}
log_of() { echo "$output/${1//[ \/]/-}.log"; }

# limited NAME LIMIT COMMAND..: runs it for so many seconds at most, and for no more than are left, into its log. What
# finds no time is skipped, with the status 250.
limited() {
    local name=$1 limit=$2 left=$((seconds - SECONDS))
    shift 2
    say "$name"
    if [ "$left" -lt 5 ]; then
        skip "$name" "no time is left of $seconds s"
        return 250
    fi
    timeout -k 5 "$((limit < left ? limit : left))" "$@" >"$(log_of "$name")" 2>&1
}

# check NAME LIMIT COMMAND..: a check, which fails the script if it fails.
check() {
    local name=$1 status=0
    limited "$@" || status=$?
    case $status in
        0) tail -n 4 "$(log_of "$name")" ;;
        250) return 1 ;;
        124 | 137) echo "FAILED: not done in its time, see $(log_of "$name")" ;;
        *) echo "FAILED ($status), see $(log_of "$name")" ;;
    esac
    [ "$status" = 0 ] && return
    tail -n 25 "$(log_of "$name")"
    failed+=("$name")
    return 1
}

# tests_of NAME LIMIT FILTER OPTION..: a check by those of the test binary. That none ran is not that all passed.
tests_of() {
    local name=$1 limit=$2
    shift 2
    check "$name" "$limit" "$tests" "$@" --test-threads 1 || return
    if grep -q '^test result: ok. 0 passed' "$(log_of "$name")"; then skip "$name" 'the test binary has none that can run'; fi
}

# measure NAME LIMIT COMMAND..: a measurement, which cannot fail the script.
measure() {
    local name=$1 status=0
    limited "$@" || status=$?
    [ "$status" = 250 ] && return 1
    tail -n 40 "$(log_of "$name")"
    [ "$status" = 0 ] && return
    skip "$name" "it ended with status $status, see $(log_of "$name")"
    return 1
}

# outcome WHAT VALUE UNIT LEAST MOST: what came out beside what was predicted.
outcome() {
    local verdict
    verdict=$(awk -v v="$2" -v least="$4" -v most="$5" 'BEGIN {
        if (v !~ /^[0-9]+[.]?[0-9]*$/) print "no number"
        else print (v + 0 < least ? "below" : (v + 0 > most ? "above" : "as predicted")) }')
    echo "outcome: $1: $2 $3, predicted $4 to $5: $verdict"
    printf '%s\t%s %s\t%s to %s\t%s\n' "$1" "$2" "$3" "$4" "$5" "$verdict" >>"$output/outcomes.tsv"
}
median() { sort -g | awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
# has COMMAND OPTION: whether this vitx knows an option.
has() { "$vitx" $1 --help 2>/dev/null | grep -q -e "$2"; }
ms_of() { sed -n 's/.*"ms_per_step":\([0-9.]*\).*/\1/p' "$1" | tail -n 1; }

# NVIDIA's Python packages, PyTorch's among them, keep their libraries where no loader looks.
packages=$(python3 - 2>/dev/null <<'PYTHON'
import glob, site, sys
roots = site.getsitepackages() + [site.getusersitepackages()] + sys.path
print(":".join(sorted({folder for root in roots for folder in glob.glob(root + "/nvidia/*/lib")})))
PYTHON
)
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}${LD_LIBRARY_PATH:+:}$packages"

wanted() { case " $parts " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
if command -v cargo >/dev/null; then
    [ -x "$vitx" ] || cargo build --release || exit 1
    if [ -z "$tests" ] && { wanted kernels || wanted tests; }; then
        tests=$(cargo test --lib --no-run --message-format=json 2>/dev/null |
            sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    fi
fi
if ! [ -x "$vitx" ]; then
    echo "there is no $vitx: give --vitx" >&2
    exit 2
fi
SECONDS=0
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader 2>/dev/null || echo 'nvidia-smi tells nothing'
regions=''
has 'bench step' --regions && regions=1
step=(bench step experiments/cifar100_vit.yaml --backend cuda --batch 256 --steps 50)
# The options of a step or a run with regions off or on; none where this vitx knows none.
with() { [ -z "$regions" ] || echo "--regions $1"; }

part_kernels() {
    [ -n "$tests" ] || { skip kernels 'there is no test binary: give --tests'; return; }
    tests_of 'regions on the device' 60 backend::cuda::region::tests::on_a_device --ignored
    # Those of the step; the others compile many variants.
    local filter
    for filter in attention layer_norm pointwise update reduce; do
        VITX_KERNEL_TESTS=device tests_of "kernels $filter" 40 "backend::cuda::kernels::$filter"
    done
}

part_sanitizer() {
    local sanitizer tool
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
    [ -n "$sanitizer" ] || { skip sanitizer 'compute-sanitizer is not here'; return; }
    # Once without it, so that the algorithms of products are chosen: under it that takes minutes.
    local two=(bench step experiments/cifar100_vit.yaml --backend cuda --batch 2 --steps 1 -p depth=1 $(with on))
    check 'step of two images' 20 "$vitx" "${two[@]}" || return
    # cuBLASLt's own kernels have hazards of their own: ours are named.
    local ours=()
    [ -z "$regions" ] || ours=(--kernel-name kns=region)
    for tool in memcheck racecheck; do
        check "sanitizer $tool" 40 "$sanitizer" --tool "$tool" "${ours[@]}" --error-exitcode 1 "$vitx" "${two[@]}"
    done
}

part_bits() {
    local run
    for run in one two; do
        rm -rf "$output/$run"
        check "bits $run" 20 "$vitx" run experiments/digits_vit.yaml --backend cuda $(with on) --set train.epochs=3 \
            --output "$output/$run" || return
    done
    check 'bits the same' 5 cmp "$output/one/best.safetensors" "$output/two/best.safetensors"
}

# The medians of a turn of steps with regions off and on, kept for the peer's ratio.
off='' on=''
part_steps() {
    local round name
    for round in 1 2 3; do
        for name in off on; do
            if [ -z "$regions" ] && [ "$name" = on ]; then continue; fi
            measure "step $name $round" 25 "$vitx" "${step[@]}" --precision bf16 --json $(with $name)
        done
    done
    off=$(for round in 1 2 3; do ms_of "$(log_of "step off $round")"; done 2>/dev/null | median)
    [ -z "$off" ] || outcome 'step bf16, regions off' "$off" ms 3.1 3.35
    [ -n "$regions" ] || { skip 'steps with regions' 'this vitx knows no --regions'; return; }
    on=$(for round in 1 2 3; do ms_of "$(log_of "step on $round")"; done 2>/dev/null | median)
    [ -z "$on" ] || outcome 'step bf16, regions on' "$on" ms 1.6 2.1
    if [ -n "$off" ] && [ -n "$on" ]; then outcome 'regions off by on' "$(ratio "$off" "$on")" times 1.5 2; fi
}

part_precisions() {
    local ms
    measure 'step tf32' 25 "$vitx" "${step[@]}" --precision tf32 --json $(with auto) && ms=$(ms_of "$(log_of 'step tf32')") &&
        outcome 'step tf32' "$ms" ms 5.0 6.4
    measure 'step f32' 25 "$vitx" "${step[@]}" --precision f32 --json $(with auto) && ms=$(ms_of "$(log_of 'step f32')") &&
        outcome 'step f32' "$ms" ms 9.0 11.9
}

part_profile() {
    measure 'step profile' 25 "$vitx" "${step[@]}" --precision bf16 --profile $(with on)
    # For every call the larger of its bytes by the bandwidth and its operations by the peak.
    say 'roofline'
    if "$vitx" graph experiments/cifar100_vit.vitx --stage program --backend cuda --batch 256 --format json $(with on) \
        >"$output/program.json"; then
        python3 scripts/roofline.py "$output/program.json" | tee "$output/roofline.log" || skip roofline 'its script failed'
    else
        skip roofline 'there is no listing of the program'
    fi
}

part_ncu() {
    local ncu metrics
    ncu=$(command -v ncu || ls /usr/local/cuda/bin/ncu 2>/dev/null)
    [ -n "$ncu" ] || { skip ncu 'ncu is not here'; return; }
    [ -n "$regions" ] || { skip ncu 'this vitx knows no --regions'; return; }
    # The four clocks (issue, tensor cores, shared memory, memory), bank conflicts, and why warps wait.
    metrics=gpu__time_duration.sum,sm__inst_issued.avg.pct_of_peak_sustained_active
    metrics+=,sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active
    metrics+=,l1tex__data_pipe_lsu_wavefronts_mem_shared.avg.pct_of_peak_sustained_elapsed
    metrics+=,l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed
    metrics+=,launch__registers_per_thread,launch__shared_mem_per_block
    metrics+=,smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio
    metrics+=,smsp__average_warps_issue_stalled_short_scoreboard_per_issue_active.ratio
    metrics+=,smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio
    measure 'ncu of regions' 80 "$ncu" --clock-control none --graph-profiling node --kernel-name regex:region --launch-count 40 \
        --metrics "$metrics" "$vitx" bench step experiments/cifar100_vit.yaml --backend cuda --batch 256 --steps 1 --regions on
}

part_peer() {
    local ms ours=${on:-$off}
    [ -n "$peer" ] || { skip peer 'no --peer is given'; return; }
    if [ -n "$peer_cache" ]; then
        export TORCHINDUCTOR_CACHE_DIR=$peer_cache TORCHINDUCTOR_FX_GRAPH_CACHE=1 TRITON_CACHE_DIR=$peer_cache/triton
        [ -d "$peer_cache" ] || echo "nothing is in $peer_cache yet: the peer tunes itself now"
    else
        echo 'no --peer-cache is given: the peer tunes itself now, which may take minutes'
    fi
    measure peer 120 bash -c "$peer" || return
    ms=$(sed -nE 's/.*ms\/step ([0-9.]+).*/\1/p' "$(log_of peer)" | tail -n 1)
    [ -n "$ms" ] || { skip "the peer's ratio" 'it printed nothing like "ms/step 5.39"'; return; }
    if [ -z "$ours" ]; then
        measure 'step beside the peer' 25 "$vitx" "${step[@]}" --precision bf16 --json $(with on) || return
        ours=$(ms_of "$(log_of 'step beside the peer')")
    fi
    [ -z "$ours" ] || outcome 'peer by ours' "$(ratio "$ms" "$ours")" times 2.6 3.3
}

# The last epoch's training loss of a run, by the name of its column.
last_loss() {
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "loss") at = i } END { print $at }' "$output/$1/history.csv"
}

part_curves() {
    local seed name run recipe=(experiments/digits_vit.yaml)
    [ -z "$data" ] || recipe=(experiments/cifar100_vit.yaml --set train.epochs=4 --data-dir "$data")
    [ -n "$regions" ] || { skip curves 'this vitx knows no --regions'; return; }
    for seed in 1 2; do
        for name in off on; do
            run="curve-$seed-$name"
            rm -rf "${output:?}/$run"
            check "$run" 30 "$vitx" run "${recipe[@]}" --backend cuda --seed "$seed" --regions "$name" --output "$output/$run" ||
                return
            echo "epoch and loss with seed $seed, regions $name:"
            cut -d, -f1,2 "$output/$run/history.csv" | tail -n +2 | paste -sd ' '
        done
        outcome "last loss with seed $seed, on by off" \
            "$(awk -v a="$(last_loss "curve-$seed-on")" -v b="$(last_loss "curve-$seed-off")" 'BEGIN { printf "%.3f", a / b }')" \
            times 0.95 1.05
    done
}

# Throughput of K trials that differ in the learning rate, as seconds of training of one by those of K.
part_packing() {
    local count began took=() first='' recipe=(experiments/digits_vit.yaml --set train.epochs=20)
    local -A predicted=([2]='1.8 2' [4]='3 4' [8]='5 8')
    has sweep --pack || { skip packing 'this vitx knows no --pack'; return; }
    [ -z "$data" ] || recipe=(experiments/cifar100_vit.yaml --data-dir "$data" --set train.epochs=2 --set train.batch_size=128
        --set data.train_limit=5120 --set params.image_size=32 --set params.patch_size=4)
    for count in 1 2 4 8; do
        rm -rf "${output:?}/packed-$count"
        began=$(date +%s%N)
        check "packing $count" 40 "$vitx" sweep "${recipe[@]}" --backend cuda --pack "$count" \
            -p 'train.optimizer.learning_rate=log(1e-4, 1e-3, 8)' --output "$output/packed-$count" || return
        took[count]=$((($(date +%s%N) - began) / 1000000))
        echo "eight trials, $count at a time: ${took[count]} ms"
        if [ "$count" = 1 ]; then continue; fi
        outcome "throughput of $count packed" "$(ratio "${took[1]}" "${took[count]}")" times ${predicted[$count]}
        # Alone and packed, the same bits.
        check "bits packed by $count" 10 bash -c 'cd "$1" && find . -name best.safetensors | sort | while read -r file; do
            cmp "$file" "$2/$file" || exit 1; done && [ -n "$(find . -name best.safetensors)" ]' _ "$output/packed-1" \
            "$output/packed-$count"
    done
}

part_tests() {
    [ -n "$tests" ] || { skip tests 'there is no test binary: give --tests'; return; }
    # Keras' fixtures, every operator at f32 and bf16 on odd shapes, determinism, bad losses, kept images.
    tests_of 'tests on the device' 180 backend::cuda::tests::on_a_device --ignored
    VITX_KERNEL_TESTS=device tests_of 'all kernels' 180 backend::cuda::kernels --skip nvrtc --skip resources
}

part_networks() {
    local network step
    for network in 'hybrid_100 512' 'speed 1024' 'cct_300 256'; do
        set -- $network
        step=(bench step "experiments/recipes/cifar100_$1.yaml" --backend cuda --batch "$2" --steps 20 --precision bf16)
        measure "step $1" 30 "$vitx" "${step[@]}"
        measure "step $1 profile" 30 "$vitx" "${step[@]}" --profile
    done
}

# 70% in seven epochs, and the reference model's recipe: about 10 and 95 s on an H200.
part_training() {
    [ -n "$data" ] || { skip training 'no --data-dir is given'; return; }
    rm -rf "$output/speed" "$output/cifar100"
    check 'seven epochs' 60 "$vitx" run experiments/recipes/cifar100_speed.yaml --backend cuda --data-dir "$data" \
        --output "$output/speed"
    check '100 epochs' 240 "$vitx" run experiments/cifar100_vit.yaml --backend cuda --data-dir "$data" --output "$output/cifar100"
}

for part in $parts; do
    if [ $((seconds - SECONDS)) -lt 5 ]; then
        skip "$part" "no time is left of $seconds s"
    else
        "part_$part"
    fi
done

say 'done'
cat "$output/outcomes.tsv"
for what in ${skipped[@]+"${skipped[@]}"}; do echo "skipped: $what"; done
for what in ${failed[@]+"${failed[@]}"}; do echo "FAILED: $what"; done
[ ${#failed[@]} = 0 ] && echo 'every check that ran passed' || echo 'SOME CHECKS FAILED'
exit $((${#failed[@]} > 0))
