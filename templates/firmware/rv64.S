/* Start-up code and test harness for RV64. */
#include "rv32.S"
