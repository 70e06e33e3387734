"""One module per page: frames in, what its template shows out."""
