/* Prints the options of a subcommand for the documents: option-reference COMMAND markdown|scdoc.
 * Not installed. */
#include "apps/kv/config.h"
#include "commands.h"

#include <string.h>

int main(int argc, char **argv)
{
    const struct cli_options *const all[] = {kv_config_options(), stat_options()};
    for (size_t at = 0; argc == 3 && at < sizeof(all) / sizeof(all[0]); at++) {
        if (strcmp(all[at]->command, argv[1]) != 0)
            continue;
        if (strcmp(argv[2], "markdown") == 0)
            cli_options_print_markdown(all[at], stdout);
        else if (strcmp(argv[2], "scdoc") == 0)
            cli_options_print_scdoc(all[at], stdout);
        else
            break;
        return 0;
    }
    fputs("usage: option-reference kv|stat markdown|scdoc\n", stderr);
    return 2;
}
