"""What instructions an image's machine code consists of, and which of them do not give the same bits everywhere."""
