"""Holds ONNX files to onnx' checker, and what onnxruntime computes of them to given logits.

usage: onnx_check.py CASES, a JSON file: [{"file", "images", "shape", "logits", "classes", "static"}], of files of
little-endian float32. Prints a line of JSON for each: {"file", "difference", ..}, the largest difference as a share of the largest number.
"""

import json
import sys

import numpy
import onnx
import onnxruntime


def difference(ours, theirs):
    return float(numpy.max(numpy.abs(ours - theirs)) / numpy.max(numpy.abs(theirs)))


for case in json.load(open(sys.argv[1])):
    model = onnx.load(case["file"])
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(case["file"], options, providers=["CPUExecutionProvider"])
    images = numpy.fromfile(case["images"], "<f4").reshape(case["shape"])
    expected = numpy.fromfile(case["logits"], "<f4").reshape(len(images), case["classes"])
    outputs = dict(zip([output.name for output in session.get_outputs()], session.run(None, {"images": images})))
    assert outputs["logits"].shape == expected.shape, outputs["logits"].shape
    largest = difference(outputs["logits"], expected)
    if "probabilities" in outputs:
        exponentials = numpy.exp(expected - expected.max(1, keepdims=True))
        softmax = exponentials / exponentials.sum(1, keepdims=True)
        largest = max(largest, difference(outputs["probabilities"], softmax))
    if not case["static"]:
        # Another batch by the same file.
        alone = session.run(["logits"], {"images": images[1:2]})[0]
        largest = max(largest, difference(alone, expected[1:2]))
    transposes = sum(node.op_type == "Transpose" for node in model.graph.node)
    result = {"file": case["file"], "difference": largest, "nodes": len(model.graph.node), "transposes": transposes}
    print(json.dumps(result))
