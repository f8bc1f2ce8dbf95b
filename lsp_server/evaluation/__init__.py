"""What a model and the loop are worth: benchmarks, repair tasks, comparisons and reports (`oci-companion eval …`)."""
