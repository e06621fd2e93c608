"""Holds folders of timm and transformers to logits.

usage: library_check.py CASES, a JSON file: [{"library", "folder", "reference"}], of which the reference is a safetensors file with
`images [n, height, width, 3]` and `logits`. Prints a line of JSON for each: {"folder", "difference"}, the largest difference
as a share of the largest number.
"""

import json
import sys

import timm
import torch
import transformers
from safetensors.torch import load_file

for case in json.load(open(sys.argv[1])):
    reference = load_file(case["reference"])
    images = reference["images"].permute(0, 3, 1, 2)
    folder = case["folder"]
    if case["library"] == "timm":
        network = timm.create_model(f"local-dir:{folder}", pretrained=True)
        # The same from the weights alone.
        config = json.load(open(f"{folder}/config.json"))
        other = timm.create_model(
            config["architecture"], pretrained=True, num_classes=config["num_classes"], **config["model_args"],
            pretrained_cfg_overlay={"file": f"{folder}/model.safetensors", "num_classes": config["num_classes"]},
        )
        assert network.pretrained_cfg["mean"] == [0.5, 0.4, 0.3] or tuple(network.pretrained_cfg["mean"]) == (0.5, 0.4, 0.3)
        assert network.pretrained_cfg["label_names"] == ["a", "b", "c", "d", "e"]
        results = [network, other]
    else:
        network, told = transformers.AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
        assert all(key.endswith("mask_token") for key in told["missing_keys"]), told
        assert not told["unexpected_keys"] and not told["mismatched_keys"], told
        assert network.config.id2label[4] == "e"
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        assert list(processor.image_mean) == [0.5, 0.4, 0.3]
        results = [network]
    largest = 0.0
    for network in results:
        network.eval()
        with torch.no_grad():
            logits = network(images)
        logits = getattr(logits, "logits", logits)
        largest = max(largest, float((logits - reference["logits"]).abs().max() / reference["logits"].abs().max()))
    print(json.dumps({"folder": folder, "difference": largest}))
