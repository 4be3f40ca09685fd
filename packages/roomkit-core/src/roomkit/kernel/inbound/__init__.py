"""From outside to a draft: admit, route, parse, identify."""
