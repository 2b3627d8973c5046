# deertrack without a database of its own: docker-compose.yml brings one.
FROM python:3.12-slim

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1

WORKDIR /app

# Dependencies first: this layer stays as it is while only the code changes.
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-deps --no-build-isolation .

RUN useradd --create-home --uid 10001 deertrack \
    && install --directory --owner=deertrack --group=deertrack --mode=0700 /data
USER deertrack
WORKDIR /data
ENV DEERTRACK_HOME=/data

ENTRYPOINT ["deertrack"]
CMD ["--help"]
