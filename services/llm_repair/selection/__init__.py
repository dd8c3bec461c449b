"""Selection: brings data in, embeds and scores it, and chooses the repair samples."""
