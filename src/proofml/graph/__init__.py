"""Reading, checking and canonicalising ONNX graphs. Everything here takes hostile files."""
