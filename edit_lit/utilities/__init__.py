"""What every room stands on: errors, atomic files, processes that share work, identity by content, ranges, texts."""
