# The service with one model in the image. CPU only. docs/operations.md shows how to build and run it.
#
#   docker build -t wideresnet:0.1.0 .
#   docker build -t wideresnet:0.1.0 --build-arg MODEL=wide_resnet50_2.tv_in1k .
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY examples/CREDITS.md examples/
COPY src src
RUN python -m venv /opt/wrn && /opt/wrn/bin/pip install --no-cache-dir '.[serve]'
# A model of `wrn models`; published weights are downloaded here and never at run time.
ARG MODEL=wrn_16_4.cifar10
RUN /opt/wrn/bin/wrn export -m "${MODEL}" -o /model

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="wideresnet" \
      org.opencontainers.image.description="Wide ResNets over HTTP, on CPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=build /opt/wrn /opt/wrn
# Another bundle can be mounted here.
COPY --from=build /model /model
ENV PATH=/opt/wrn/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    WRN_OFFLINE=1 \
    WRN_CACHE=/tmp/wrn \
    WRN_SERVE_MODEL=/model \
    WRN_SERVE_HOST=0.0.0.0
# A number, so that Kubernetes can tell that it is not root.
USER 65534:65534
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('WRN_SERVE_PORT', '8000') + '/v2/health/ready', timeout=2)"]
ENTRYPOINT ["wrn", "serve"]
