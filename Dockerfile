# Images for users: `docker build --target operator -t evenkeel-operator:0.1.0 .`, and the same with `sidecar`
# (and `echo`, the test server that `helm test` sends traffic to).
# The programs are static, so the images hold nothing else: no shell, no libraries, no root.
FROM rust:1.95-bookworm AS build
# aws-lc-rs builds C and assembler.
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN for program in evenkeel-operator evenkeel-sidecar echo; do \
        package="$program"; [ "$program" != echo ] || package=evenkeel-e2e; \
        file="$(scripts/ship "$package" "$program")" && install -D -t /out "$file" || exit 1; \
    done

FROM scratch AS operator
COPY --from=build /out/evenkeel-operator /evenkeel-operator
USER 65532:65532
EXPOSE 16443 16444 16081
ENTRYPOINT ["/evenkeel-operator"]
CMD ["run"]

FROM scratch AS sidecar
COPY --from=build /out/evenkeel-sidecar /evenkeel-sidecar
# As in an injected pod, where the webhook sets it.
USER 14021:14021
EXPOSE 16081
ENTRYPOINT ["/evenkeel-sidecar"]

FROM scratch AS echo
COPY --from=build /out/echo /echo
USER 65532:65532
ENTRYPOINT ["/echo"]
