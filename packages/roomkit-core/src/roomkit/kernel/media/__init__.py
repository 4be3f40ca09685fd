"""Files of events: taken in before a commit, shown at delivery, served, imported, and swept once unused."""
