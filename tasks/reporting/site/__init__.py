"""The site: static pages built from the published warehouse."""
