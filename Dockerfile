# syntax=docker/dockerfile:1
#
# No image has been built from this file yet; each RUN line was tried in a shell on Debian 12.
#
#   docker build -t s3delta .
#
# The server listens beyond its own machine (here: its container) only where tokens are set up in its home, or where the
# variable below says that everyone who reaches the port may use it. So publish the port to this machine alone:
#
#   docker run -p 127.0.0.1:8080:8080 -e S3DELTA_INSECURE=true -v s3delta:/var/lib/s3delta s3delta

FROM node:22-bookworm-slim AS node

FROM rust:1.95-bookworm AS build
# Node builds the web page during `cargo build`
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
    && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx \
    && npm --version
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    S3DELTA_WEB=require cargo build --release --locked \
    && install -m 755 target/release/s3delta /usr/local/bin/s3delta

FROM debian:bookworm-slim
RUN useradd --uid 10001 --home-dir /var/lib/s3delta --create-home --shell /usr/sbin/nologin s3delta
COPY --from=build /usr/local/bin/s3delta /usr/local/bin/s3delta
COPY LICENSE /usr/share/doc/s3delta/LICENSE
USER s3delta
ENV S3DELTA_HOME=/var/lib/s3delta
WORKDIR /var/lib/s3delta
VOLUME /var/lib/s3delta
EXPOSE 8080
# bash opens the connection itself, so that the image needs no HTTP client
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/${S3DELTA_PORT:-8080} && printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["s3delta"]
CMD ["serve", "--host", "0.0.0.0"]
