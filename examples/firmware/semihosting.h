/* Printing and exiting through a debugger or an emulator: Arm's semihosting. On a board, print to a UART instead. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

/* Prints a text. */
void print(const char *text);

/* Prints a number in decimal digits. */
void print_number(unsigned number);

/* Ends the program; the emulator's exit status is 0 if `status` is. */
void leave(int status);

#endif
