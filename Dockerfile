# One image for the API, the workers and the migration.
#
# All packages are installed with the hashes of requirements.lock. The torch on PyPI includes CUDA, which the GPU worker
# needs. For an image without CUDA, some gigabytes smaller:
# docker build --build-arg TORCH_INDEX_URL=<the address of PyTorch's CPU builds> .
# These builds have other hashes, so only their versions are those of the lock.
FROM python:3.11-slim AS build
ARG TORCH_INDEX_URL=""
WORKDIR /source
RUN python -m venv /opt/nern
COPY requirements.lock pyproject.toml README.md ./
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ -z "$TORCH_INDEX_URL" ]; then \
        /opt/nern/bin/pip install --only-binary :all: --require-hashes --requirement requirements.lock; \
    else \
        grep -o '^[a-z0-9._-]*==[^ ]*' requirements.lock | grep -v -E '^(cuda|nvidia|triton)' >versions.txt \
        && PIP_EXTRA_INDEX_URL="$TORCH_INDEX_URL" /opt/nern/bin/pip install --only-binary :all: --requirement versions.txt; \
    fi
COPY app app
COPY worker worker
COPY nern_core nern_core
COPY nern_client nern_client
COPY nern_mlflow nern_mlflow
COPY nern_huggingface nern_huggingface
COPY nern_cli nern_cli
COPY migrations migrations
RUN /opt/nern/bin/pip install --no-deps --no-build-isolation --no-index .

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 nern \
    && install --directory --owner=nern /var/lib/nern /var/lib/nern/artifacts /var/lib/nern/scratch
COPY --from=build /opt/nern /opt/nern
ENV PATH=/opt/nern/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/tmp/numba
USER nern
WORKDIR /home/nern
EXPOSE 8000
CMD ["nern", "api", "--host", "0.0.0.0", "--port", "8000"]
