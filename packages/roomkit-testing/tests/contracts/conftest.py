"""A hypothesis profile for the planted faults: they are to be found, not to be made small."""

from hypothesis import Phase, settings

settings.register_profile("only-find", phases=[Phase.explicit, Phase.generate])
