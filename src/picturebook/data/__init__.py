"""Pictures, words and views: from files to batches."""
