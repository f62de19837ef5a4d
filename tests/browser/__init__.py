"""What a browser makes of the pages Tenuto writes."""
