# graceinit as an image that holds the binary and nothing else. Take it into your own image:
#
#   COPY --from=graceinit /graceinit /graceinit
#   ENTRYPOINT ["/graceinit", "--", "/app"]
#
# GO_IMAGE is any image with Go (the version in go.mod or newer) and make.
ARG GO_IMAGE=golang:1.26-bookworm

# The builder runs on the machine's own platform and compiles for the target. BuildKit names both; the classic
# builder names neither: "linux" is its own platform then, and `--build-arg TARGETARCH=arm64` chooses the target.
FROM --platform=${BUILDPLATFORM:-linux} ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETARCH
ARG VERSION=devel
# How it is built is the Makefile's. An empty GOARCH is the machine's own.
RUN GOOS=linux GOARCH="${TARGETARCH}" make build VERSION="${VERSION}" OUT=/graceinit

FROM scratch
ARG VERSION=devel
ARG REVISION=
LABEL org.opencontainers.image.title="graceinit" \
      org.opencontainers.image.description="A tiny container init that lets servers upgrade in place without losing a request" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/graceinit/graceinit" \
      org.opencontainers.image.documentation="https://github.com/graceinit/graceinit/blob/main/README.md" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /graceinit /graceinit
# No USER: the binary needs no privilege and runs as any user; the image that takes it chooses.
ENTRYPOINT ["/graceinit"]
