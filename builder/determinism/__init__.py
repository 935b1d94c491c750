"""What moves a result's bits, and what holds each of them still."""
