/* Here the compiler may not move loads forward: products that come early would not fit into its registers. */
#if defined(__GNUC__)
#define in_order() __asm volatile("" ::: "memory")
#else
#define in_order() ((void)0)
#endif
