"""All calls with a wrong argument; each fails with the same message with and without `out=`."""

from wrong_calls.arrays import ARRAYS
from wrong_calls.choices import CHOICES
from wrong_calls.conversions import CONVERSIONS
from wrong_calls.dtypes import DTYPES
from wrong_calls.numbers import NUMBERS
from wrong_calls.sizes import SIZES

ARGUMENTS = NUMBERS | CHOICES | ARRAYS | DTYPES | SIZES | CONVERSIONS
