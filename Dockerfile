# Gavel from the wheel that `make dist` writes:
#   make dist && docker build -t gavel .
#   docker run --rm -v "$PWD:/work" gavel train recipes/reward.yaml data.train=mine.csv
# The model smollm2-135m-instruct is fetched while the image is built, so that it runs without a network.
FROM python:3.13-slim-trixie
COPY dist/gavel_judge-*.whl /tmp/
RUN pip install --no-cache-dir --no-index /tmp/gavel_judge-*.whl \
 && rm /tmp/gavel_judge-*.whl \
 && useradd --create-home --uid 1000 gavel \
 && mkdir /work \
 && chown 1000 /work
USER 1000
RUN gavel doctor --fetch smollm2
WORKDIR /work
EXPOSE 8080
ENTRYPOINT ["gavel"]
CMD ["--help"]
