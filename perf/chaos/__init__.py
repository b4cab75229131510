"""Everything at once: faults of the tenant, kills and restarts, under traffic whose right answers are known.

questions   what is asked, and what a right answer says
verdicts    right, an honest error, cut by a blow of ours, left by the caller, wrong, or hung
site        the real gateway behind the real nginx, with real Redis and the simulator
disorder    what goes wrong, and when
traces      what a run may not leave behind: open files, memory, counters
"""
