"""What crosses between a method and a placement: batches in, log-probabilities out, sums back."""
