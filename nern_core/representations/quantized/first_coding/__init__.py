"""The first coding of quantized layers, in files of the format versions 4 to 6. It is only decoded."""
