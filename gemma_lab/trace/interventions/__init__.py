"""Changes to a running model as values: ablations, router edits, attention knockout, activation patches."""
