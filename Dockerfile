# vitx with NVIDIA's libraries; the driver is the host's:
#
#   docker build -t vitx .
#   docker run --rm vitx run digits_vit
#   docker run --rm --gpus all -v "$PWD:/work" -v vitx-data:/data vitx run cifar100_vit
#
# Without a GPU, `--build-arg EXTRAS=` leaves its libraries out, which are most of the image.

FROM rust:1.95-bookworm AS build
WORKDIR /vitx
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/vitx/target \
    cargo build --profile dist --locked && cp target/dist/vitx /usr/local/bin/vitx

FROM python:3.12-slim-bookworm
ARG EXTRAS="nvidia-cuda-nvrtc>=13,<14 nvidia-cublas>=13,<14"
# Beside the binary, where vitx looks for them: /opt/vitx/bin/vitx and /opt/vitx/lib/python3.12/site-packages/nvidia.
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN python -m venv /opt/vitx \
    && if [ -n "$EXTRAS" ]; then read -ra extras <<<"$EXTRAS" && /opt/vitx/bin/pip install --no-cache-dir "${extras[@]}"; fi
COPY --from=build /usr/local/bin/vitx /opt/vitx/bin/vitx
ENV PATH=/opt/vitx/bin:$PATH VITX_DATA_DIR=/data NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --create-home --uid 1000 vitx && mkdir /data /work && chown vitx /data /work
USER 1000
WORKDIR /work
ENTRYPOINT ["vitx"]
CMD ["--help"]
