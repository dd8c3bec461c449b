"""Speed, as ratios side by side in one run: `python -m bench` for all areas, `python -m bench.<area>` for one.

A machine's absolute speed changes from hour to hour, above all where neighbours share it. So contenders take turns in
one process and what counts is the median of their ratios, and the share of a limit that is measured beside them.
"""
