"""One verb a file, each the whole story of that verb in one screen."""
