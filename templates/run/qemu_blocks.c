/* A plugin of QEMU's user emulation that counts how often every block of instructions is executed.
 *
 *     -plugin qemu_blocks.so,blocks=FILE
 *
 * A block is a straight run of instructions that QEMU translates at once. When the program ends, FILE gets a record per
 * translated block: its address, its instructions, how often it was executed. What these instructions are is for whoever
 * reads the file (dscompile/run/emulators/qemu_user.py), who has the program.
 *
 * Distributions ship QEMU with plugins but without their header, so what is used of the interface is declared here
 * (versions 1 to 4 agree on it; PLUGIN_API names the one that the QEMU at hand wants).
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
enum { QEMU_PLUGIN_CB_NO_REGS = 0 };

#define EXPORTED __attribute__((visibility("default")))

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t,
                                                  void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);

EXPORTED int qemu_plugin_version = PLUGIN_API;

/* dscompile/run/emulators/qemu_user.py reads the first three. */
typedef struct block {
    uint64_t address, instructions, executions;
    struct block *next;
} block;

static block *blocks;
static pthread_mutex_t translating = PTHREAD_MUTEX_INITIALIZER;
static FILE *file;

static void on_execution(unsigned cpu, void *argument)
{
    block *const executed = argument;
    (void)cpu;
    __atomic_fetch_add(&executed->executions, 1, __ATOMIC_RELAXED); /* the program may have threads */
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *translated)
{
    block *const made = calloc(1, sizeof *made); /* lives as long as the translation may: until the end */
    (void)id;
    if (made == NULL)
        abort();
    made->address = qemu_plugin_tb_vaddr(translated);
    made->instructions = qemu_plugin_tb_n_insns(translated);
    pthread_mutex_lock(&translating);
    made->next = blocks;
    blocks = made;
    pthread_mutex_unlock(&translating);
    qemu_plugin_register_vcpu_tb_exec_cb(translated, on_execution, QEMU_PLUGIN_CB_NO_REGS, made);
}

static void on_exit_of_program(qemu_plugin_id_t id, void *argument)
{
    (void)id;
    (void)argument;
    for (const block *made = blocks; made != NULL; made = made->next)
        fwrite(made, sizeof made->address, 3, file);
    fclose(file);
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    static const char key[] = "blocks=";
    (void)info;
    if (argc != 1 || strncmp(argv[0], key, sizeof key - 1) != 0)
        return 1;
    file = fopen(argv[0] + sizeof key - 1, "wb");
    if (file == NULL)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit_of_program, NULL);
    return 0;
}
