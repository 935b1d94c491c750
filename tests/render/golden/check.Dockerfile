# Compares an image that this directory built with image.mtree, entry by entry, in the image's own Python:
#
#     docker build --network none --file check.Dockerfile --build-arg IMAGE=demo:1.0.0 .
ARG IMAGE=demo:1.0.0
FROM ${IMAGE} AS image

FROM image
COPY --from=image / /.kbuild/image/
COPY lay.py image.mtree /.kbuild/
RUN ["/usr/bin/python3", "-I", "-S", "-B", "/.kbuild/lay.py", "check", "/.kbuild/image.mtree", "/.kbuild/image"]
