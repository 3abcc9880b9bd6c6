"""What all widgets share: bundling, wire format, images, saved pages."""
