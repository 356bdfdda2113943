/* Stands in for CUDA's driver header, which generated kernels include and do not use. */
#pragma once
