/* Here the compiler may not move loads forward: what comes too early does not fit into its registers. */
static inline void in_order(void)
{
#if defined(__GNUC__)
    __asm volatile(""
                   :
                   :
                   : "memory");
#endif
}
