#!/usr/bin/env python3
"""The least time that a program can take on a device.

    vitx graph MODEL --stage program --backend cuda --batch 256 --format json > program.json
    python3 scripts/roofline.py program.json [--bandwidth TB/S] [--peak TFLOP/S]

A call takes at least its bytes (each tensor that it reads or writes, once) by the memory's bandwidth, and at least
the operations of its matrix products by the peak of the tensor cores. The floor is the sum over calls of the larger
of the two: what no schedule of these calls can beat. Defaults: an H200, bfloat16 (NVIDIA's data sheet).
"""
import argparse
import collections
import json

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program")
parser.add_argument("--bandwidth", type=float, default=4.8, help="TB/s")
parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s")
options = parser.parse_args()

with open(options.program) as file:
    program = json.load(file)
groups = collections.defaultdict(lambda: [0, 0, 0, 0.0])
for call in program["calls"]:
    by_memory = call["bytes"] / options.bandwidth / 1e12
    by_peak = call["flops"] / options.peak / 1e12
    group = groups[call["kernel"]]
    group[0] += 1
    group[1] += call["bytes"]
    group[2] += call["flops"]
    group[3] += max(by_memory, by_peak)

print(f"batch {program['batch']}, {program['precision']}, {options.bandwidth} TB/s, {options.peak} TFLOP/s")
print("| kernel | calls | GB | GFLOP | floor, us |\n|---|---|---|---|---|")
rows = sorted(groups.items(), key=lambda item: -item[1][3])
total = [sum(group[index] for _, group in rows) for index in range(4)]
for name, (calls, size, flops, seconds) in [*rows, ("all", total)]:
    print(f"| {name} | {calls} | {size / 1e9:.3f} | {flops / 1e9:.1f} | {seconds * 1e6:.0f} |")
