"""What many runs say together: means with intervals, paired differences, survival, tables and figures of a sweep."""
