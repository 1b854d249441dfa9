"""Intervals, ranks, tests and claims of a campaign. Pure functions over numbers; nothing is NaN.

observations  student   lists of numbers; Student's t
intervals  ranks        differences of means and shares; orders and robust scales
noise  sequential       the spread over seeds; a t-test that may be looked at after every seed
multiplicity  claims    many candidates at once; what may be said of each
equal_cost              ways of searching beside each other, at what they cost
"""

from cognition.statistics.claims import MOST_POOLED as MOST_POOLED
from cognition.statistics.claims import RATE as RATE
from cognition.statistics.claims import Against as Against
from cognition.statistics.claims import Decision as Decision
from cognition.statistics.claims import Evidence as Evidence
from cognition.statistics.claims import Rival as Rival
from cognition.statistics.claims import alone as alone
from cognition.statistics.claims import decide as decide
from cognition.statistics.claims import held as held
from cognition.statistics.claims import seeds_needed as seeds_needed
from cognition.statistics.claims import wants_seed as wants_seed
from cognition.statistics.equal_cost import Attempt as Attempt
from cognition.statistics.equal_cost import Return as Return
from cognition.statistics.equal_cost import at_equal_cost as at_equal_cost
from cognition.statistics.intervals import Difference as Difference
from cognition.statistics.intervals import Pooled as Pooled
from cognition.statistics.intervals import difference_interval as difference_interval
from cognition.statistics.intervals import paired_difference as paired_difference
from cognition.statistics.intervals import pooled_std as pooled_std
from cognition.statistics.intervals import share_interval as share_interval
from cognition.statistics.multiplicity import benjamini_hochberg as benjamini_hochberg
from cognition.statistics.multiplicity import e_benjamini_hochberg as e_benjamini_hochberg
from cognition.statistics.multiplicity import holm as holm
from cognition.statistics.noise import paired_noise as paired_noise
from cognition.statistics.noise import smallest_by_interval as smallest_by_interval
from cognition.statistics.observations import Numbers as Numbers
from cognition.statistics.ranks import Correlation as Correlation
from cognition.statistics.ranks import rank_correlation as rank_correlation
from cognition.statistics.ranks import robust_standardise as robust_standardise
from cognition.statistics.ranks import spearman as spearman
from cognition.statistics.sequential import critical_t as critical_t
from cognition.statistics.sequential import e_value as e_value
from cognition.statistics.sequential import further_needed as further_needed
from cognition.statistics.sequential import power as power
from cognition.statistics.sequential import sequential_interval as sequential_interval
from cognition.statistics.sequential import smallest_effect as smallest_effect
from cognition.statistics.student import student_t_cdf as student_t_cdf
from cognition.statistics.student import student_t_quantile as student_t_quantile
