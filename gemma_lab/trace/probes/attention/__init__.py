"""Record attention patterns block by block, without keeping a full attention matrix."""
