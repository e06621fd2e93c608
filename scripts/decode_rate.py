"""Photographs to decode, and torchvision's rate beside vitx': docs/DATA.md has the numbers.

    python scripts/decode_rate.py make DIR          20,000 JPEGs of 500x375, some 50 kB each, in 20 classes, and 400 to test on; DIR/small.yaml
    vitx run DIR/small.yaml --threads 2             a network that costs next to nothing, for the decoder to set the rate
    python scripts/decode_rate.py torchvision DIR   an epoch of ImageFolder by two workers

Needs numpy and Pillow, and torchvision for the last. Shapes of several sizes, and noise of several scales, make files as long as those
of photographs.
"""

import io
import pathlib
import resource
import sys
import time

EXPERIMENT = """model: small.vitx
data:
  name: image_folder
  path: .
  in_memory: false
  image_size: 224
  normalization: { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] }
train: { epochs: 2, batch_size: 64 }
"""
MODEL = """model small(image_size = 224) {
    conv2d(4, 16, strides = 16, padding = valid)
    global_average_pool
    classify: dense(num_classes)
}
"""


def make(folder):
    import numpy
    from PIL import Image

    random = numpy.random.default_rng(0)

    def picture():
        base = random.integers(0, 256, (12, 16, 3), dtype=numpy.uint8)
        whole = numpy.asarray(Image.fromarray(base).resize((500, 375), Image.BICUBIC)).astype(numpy.float32)
        for side, deviation in [(1, 7), (2, 8), (4, 8), (8, 9), (32, 10)]:
            noise = random.standard_normal((375 // side + 1, 500 // side + 1)).astype(numpy.float32) * deviation
            whole = whole + numpy.asarray(Image.fromarray(noise).resize((500, 375), Image.BICUBIC))[..., None]
        file = io.BytesIO()
        Image.fromarray(whole.clip(0, 255).astype(numpy.uint8)).save(file, "jpeg", quality=85)
        return file.getvalue()

    some = [picture() for _ in range(2000)]
    print(f"{sum(map(len, some)) / len(some):.0f} bytes a file")
    for split, count in [("train", 1000), ("test", 20)]:
        for label in range(20):
            place = folder / split / f"class{label:02}"
            place.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                (place / f"{index:04}.jpg").write_bytes(some[(label * 97 + index * 20 + index // 100) % len(some)])
    (folder / "small.yaml").write_text(EXPERIMENT)
    (folder / "small.vitx").write_text(MODEL)


def of_torchvision(folder):
    import torch
    import torchvision
    from torchvision import transforms

    torch.set_num_threads(1)
    transform = transforms.Compose([
        transforms.Resize((224, 224)),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])
    images = torchvision.datasets.ImageFolder(folder / "train", transform)
    loader = torch.utils.data.DataLoader(images, batch_size=64, shuffle=True, num_workers=2)
    begin, count = time.time(), 0
    for pixels, _ in loader:
        count += len(pixels)
    seconds = time.time() - begin
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    processor = sum(one.ru_utime + one.ru_stime for one in used)
    print(f"{count / seconds:.0f} images/s, {1e3 * processor / count:.2f} ms of a processor each")


if __name__ == "__main__":
    {"make": make, "torchvision": of_torchvision}[sys.argv[1]](pathlib.Path(sys.argv[2]))
