#include "cli/commands.h"

int main(int argc, char** argv) { return gavel::run_cli(argc, argv); }
