"""BGP by the speaker of Ryu and os-ken, in a supervised child process."""
