# The framework: scheduler, API and the `builder` command, as a user without privileges.
#
#     docker build -t REGISTRY/builder-framework .
#
# from the top of the repository. With a directory wheels/ that holds all Python packages
# (`pip wheel --wheel-dir wheels ./compat/http-parser .`) no package index is needed.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
COPY setup.cfg pyproject.toml README.md requirements.lock /src/
COPY compat/http-parser /src/compat/http-parser
COPY builder_framework /src/builder_framework
COPY api /src/api
COPY executor /src/executor
COPY plugins /src/plugins
RUN --mount=type=bind,source=.,target=/context \
    set -eu; \
    python3 -m venv /opt/builder; \
    cd /src; \
    if [ -d /context/wheels ]; then \
        /opt/builder/bin/pip install --no-cache-dir --no-index --find-links /context/wheels \
            builder-framework; \
    else \
        /opt/builder/bin/pip install --no-cache-dir -c requirements.lock ./compat/http-parser .; \
    fi

FROM ${BASE}
COPY --from=build /opt/builder /opt/builder
RUN mkdir -p /var/lib/builder && chown 10001:10001 /var/lib/builder
ENV PATH=/opt/builder/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    BUILDER_DATA_DIR=/var/lib/builder \
    BUILDER_HTTP_HOST=0.0.0.0
USER 10001
VOLUME /var/lib/builder
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD \
    ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
CMD ["builder", "serve"]
