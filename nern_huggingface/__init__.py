"""Export of encodings as folders for the Hugging Face Hub. Nothing here connects to the hub."""
