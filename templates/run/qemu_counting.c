/* A plugin of QEMU that counts executed instructions into a file which its user maps as well.
 *
 *     -plugin qemu_counting.so,counters=FILE
 *
 * Distributions ship QEMU with plugins but without their header, so what is used of the interface is declared here
 * (versions 1 to 4 agree on it; PLUGIN_API names the one that the QEMU at hand wants).
 */
#include "counting.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
enum { QEMU_PLUGIN_CB_NO_REGS = 0 };

#define EXPORTED __attribute__((visibility("default")))

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t,
                                                  void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);

EXPORTED int qemu_plugin_version = PLUGIN_API;

typedef struct block {
    uint64_t address, instructions;
} block;

static counters *count;

static void on_execution(unsigned cpu, void *argument)
{
    const block *const executed = argument;
    (void)cpu;
    if (count_block(count, executed->address, executed->instructions))
        _exit(0); /* the only way for a plugin to stop the machine */
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *translated)
{
    block *const made = malloc(sizeof *made); /* lives as long as the translation may: until the end */
    (void)id;
    if (made == NULL)
        abort();
    made->address = qemu_plugin_tb_vaddr(translated);
    made->instructions = qemu_plugin_tb_n_insns(translated);
    qemu_plugin_register_vcpu_tb_exec_cb(translated, on_execution, QEMU_PLUGIN_CB_NO_REGS, made);
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    static const char key[] = "counters=";
    (void)info;
    if (argc != 1 || strncmp(argv[0], key, sizeof key - 1) != 0)
        return 1;
    const int file = open(argv[0] + sizeof key - 1, O_RDWR);
    if (file < 0)
        return 1;
    count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (count == MAP_FAILED)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
