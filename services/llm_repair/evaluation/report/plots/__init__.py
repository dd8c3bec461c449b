"""Plots as inline SVG: no script, no network, named and described for screen readers.

Colours are CSS classes of the page, so that one drawing serves the light and the dark scheme and print. All
plots are 480 units wide, which keeps their letters readable on a phone.
"""
