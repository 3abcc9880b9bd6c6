"""Analyses of expert routing: load, specialisation, overlap, caches, offloading. numpy only."""
