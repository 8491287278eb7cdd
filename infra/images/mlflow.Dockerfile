# MLflow behind the platform's check, for files in a bucket. Built by infra/scripts/images.py.
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv python3-pip ca-certificates binutils
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_CERT
COPY constraints.txt requirements-mlflow.txt /build/
RUN python3 -m venv --without-pip /opt/tunesmith \
 && python3 -m pip --python /opt/tunesmith/bin/python install --no-cache-dir --no-compile \
      -c /build/constraints.txt -r /build/requirements-mlflow.txt \
 && find /opt/tunesmith -depth \( -name tests -o -name test -o -name include \) -type d \
      \( -path '*/pyarrow/*' -o -path '*/numpy/*' -o -path '*/sqlalchemy/*' \) -exec rm -rf {} + \
 && find /opt/tunesmith -name '*.so*' -path '*/pyarrow/*' \( -name '*flight*' -o -name '*gandiva*' -o -name '*.so.*.*.*' -o -name 'libarrow_python*.so' \) -delete \
 && rm -rf /opt/tunesmith/lib/python3.11/site-packages/pyarrow/src \
 && /opt/tunesmith/bin/python -c 'import pyarrow.csv, pyarrow.dataset, pyarrow.fs, pyarrow.json, pyarrow.parquet' \
 && strip --strip-unneeded /opt/tunesmith/lib/python3.11/site-packages/uvloop/*.so

FROM build AS code
COPY *.whl /build/
RUN python3 -m pip --python /opt/tunesmith/bin/python install --no-cache-dir --no-compile --no-deps --no-index \
      --target /code /build/*.whl

FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /usr/share/doc /usr/share/man /usr/share/locale \
 && groupadd -g 10001 tunesmith && useradd -u 10001 -g 10001 -M -d /tmp tunesmith
COPY --from=build /opt/tunesmith /opt/tunesmith
COPY sbom.py /usr/local/bin/sbom
COPY --from=code /code /opt/tunesmith/lib/python3.11/site-packages
RUN cp /opt/tunesmith/lib/python3.11/site-packages/bin/tunesmith /opt/tunesmith/bin/ \
 && /opt/tunesmith/bin/python /usr/local/bin/sbom tunesmith-mlflow > /opt/tunesmith/sbom.json
ENV PATH=/opt/tunesmith/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
USER 10001:10001
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/health', timeout=4)"]
CMD ["python", "-m", "tunesmith_platform.embedded.mlflow_server", "--help"]
