#!/usr/bin/env bash
# A sweep on a Ray head of its own, in namespaces of its own: nothing of it is left when this script ends.
#   unshare --net --pid --fork --kill-child --mount-proc ray_sweep.sh RAY VITX FOLDER ARGUMENTS...
set -euo pipefail
ray=$1 vitx=$2
cd "$3"
shift 3
ip link set lo up
export RAY_ADDRESS=http://127.0.0.1:8265 RAY_DISABLE_IMPORT_WARNING=1
timeout -k 10 120 "$ray" start --head --node-ip-address=127.0.0.1 --dashboard-host=127.0.0.1 --dashboard-port=8265 --num-cpus=2 --num-gpus=2 \
    --object-store-memory=100000000 --disable-usage-stats --temp-dir="$PWD/ray" >ray.log 2>&1 || { cat ray.log; exit 1; }
sweep=(sweep digits_vit.yaml --output out --executor ray "$@")

# The sweep dies while its trials run.
"$vitx" "${sweep[@]}" >first.txt 2>&1 &
pid=$!
for _ in $(seq 1800); do
    if [ "$(cat out/trials/*/metrics.jsonl 2>/dev/null | wc -l)" -ge 2 ]; then break; fi
    kill -0 $pid 2>/dev/null || { cat first.txt; exit 1; }
    sleep 0.1
done
# Its trials stand still until the next one has them.
trials=$(pgrep -f "^$vitx trial" || true)
for trial in $trials; do kill -STOP "$trial" 2>/dev/null || true; done
kill -9 $pid
wait $pid || true
cp out/trials/*/job.json . 2>/dev/null || true
cat out/trials/*/job.json | grep -c '"id"' >handed.txt
# One that hangs fails.
timeout -k 10 300 "$vitx" "${sweep[@]}" >second.txt 2>&1 &
pid=$!
for _ in $(seq 1800); do
    if grep -q 'are taken over' second.txt; then break; fi
    kill -0 $pid 2>/dev/null || { cat second.txt; exit 1; }
    sleep 0.1
done
# One of them dies as well.
for trial in $trials; do
    kill -9 "$trial" 2>/dev/null || true
    break
done
for trial in $trials; do kill -CONT "$trial" 2>/dev/null || true; done
wait $pid || { cat second.txt; exit 1; }
