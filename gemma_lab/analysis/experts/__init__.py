"""Expert routing: load, specialisation, overlap, caches and offload speed. numpy only."""
