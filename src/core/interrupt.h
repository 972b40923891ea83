// Ctrl-C (SIGINT) and SIGTERM, turned into an exception at a safe point.
#pragma once

namespace bitsmith {

// From now on SIGINT and SIGTERM only set a flag; a second one ends the process at once.
void catch_interrupts();

bool interrupted();

// Throws Error(kInterrupted) if the user asked to stop. Long loops call it between steps.
void check_interrupt();

}  // namespace bitsmith
