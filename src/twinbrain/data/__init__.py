"""Readers of what people bring, and the sample people: files in, a Subject out."""
